"""Fixtures of the Train tab's tests; `tests.helpers.planning` says what each is."""

from tests.helpers import planning

my_upload = planning.my_upload
nothing_is_known = planning.nothing_is_known
roomy_machine = planning.roomy_machine
