"""Looking into a network at work: attention recorded and drawn as heat maps.

Nothing here changes what a network computes.
"""
