"""What everything stands on: input checks, safe writing, the machine, randomness, text.

Nothing here knows a picture set, a network or a training.
"""
