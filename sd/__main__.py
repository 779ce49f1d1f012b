"""python -m sd: see `sd.cli.parser`."""

import sys

from sd.cli.parser import end_cleanly, main

if __name__ == "__main__":
    end_cleanly()
    sys.exit(main())
