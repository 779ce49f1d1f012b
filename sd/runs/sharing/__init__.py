"""One machine whose visitors train in turns: a run's turn, who is next, what a host may do.

All of it lies on the disk, in the runs' own folders: whichever page looks next goes on with it.
"""
