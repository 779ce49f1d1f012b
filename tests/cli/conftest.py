"""Fixtures of the commands' tests; `tests.helpers.commands` says what each is."""

from tests.helpers import commands

random_checkpoint = commands.random_checkpoint
