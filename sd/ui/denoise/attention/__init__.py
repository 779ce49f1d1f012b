"""The attention of a model in one call: recorded, drawn and shown.

Recording itself lives in networks/attention_maps.
"""
