"""What a training will take here, in time and memory, and what to choose for it.

Nothing here trains for keeps.
"""
