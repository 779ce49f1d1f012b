"""Where a model looked: asking for it and showing it.

Recording itself lives in networks/inside.
"""
