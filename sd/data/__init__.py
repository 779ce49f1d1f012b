"""Pictures into a set: reading, fitting, ingesting, changing; the bundled sets in starter/.

`space` is the door between pictures and what is sampled. Nothing here knows noise or a network.
"""
