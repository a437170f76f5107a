"""What somebody else wrote, in a message: on one line, and short."""

_SHOWN = 60  # characters


def quoted(value: object) -> str:
    """A value as Python would write it, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
