"""How processes share the cores."""

import os
import subprocess
import sys

import pytest

from sd.common import threads


@pytest.mark.parametrize("given", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}])
def test_threads_wait_less_long_unless_told_otherwise(given: dict[str, str]) -> None:
    script = (
        "from sd.common.threads import share_cores; share_cores()\n"
        "import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    env = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env | given, capture_output=True, text=True, check=True
    )
    expected = given.get("GOMP_SPINCOUNT", "None") if given else threads.SPINS
    assert done.stdout.strip() == expected
