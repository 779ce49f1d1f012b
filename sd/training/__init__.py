"""Training as a stream of steps: loop, optimisers, randomness, evaluation; planning/, coach/.

No run folder and no process is known here.
"""
