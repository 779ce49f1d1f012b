"""The Denoise tab: sampling step by step, branches, races, what is taken away.

It knows no other tab.
"""
