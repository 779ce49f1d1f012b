"""Where this package and the project around it lie."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent  # sd/
PROJECT = PACKAGE.parent
