"""The names of closed-form models, which need no training: ideal:DATA and linear:DATA. No torch."""

from sd.common.validation import InputError

CLOSED_FORMS = IDEAL, LINEAR = ("ideal", "linear")
PRESET = "tiny"  # the settings for pictures that are no run's


def parse_name(name: str) -> tuple[str, str] | None:
    """Return (kind, DATA) of "ideal:DATA" or "linear:DATA", None for what is no such name.

    Raises `InputError` where DATA is missing.
    """
    kind, colon, data = name.partition(":")
    if kind not in CLOSED_FORMS or not colon:
        return None
    if not data:
        raise InputError(f"{kind}: tell of which pictures: {kind}:DATA, such as {kind}:starter")
    return kind, data
