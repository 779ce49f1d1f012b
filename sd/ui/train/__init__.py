"""The Train tab: pictures, plan, settings, and a run that is watched and steered.

It knows no other tab.
"""
