"""The Noise tab: the forward process at any t.

It knows no other tab.
"""
