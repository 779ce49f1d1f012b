"""Pictures into a set: reading, fitting, ingesting, changing; the bundled sets in starter/.

Nothing here knows noise or a network.
"""
