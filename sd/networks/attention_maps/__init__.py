"""The attention of a network at work: recorded by hooks, drawn as heat maps.

Nothing here changes what a network computes.
"""
