"""From a folder or zip of strangers to names, labels, captions and a report.

Nothing here imports torch.
"""
