"""From the bytes of one file to a picture in sRGB; what is no picture is named.

Nothing here imports torch or knows a set.
"""
