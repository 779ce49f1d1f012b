"""How this process and its children share the machine's cores."""

import os

SPINS = "10000"  # a thirtieth of libgomp's own: some tens of microseconds


def share_cores() -> None:
    """Let OpenMP's threads wait less long before they sleep; to be called before torch is imported.

    By default they spin for milliseconds, here and in children, and where a browser or the page
    takes one of two cores each such wait is lost. A setting of your own stays.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def count_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
