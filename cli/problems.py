"""What can go wrong: each has one sentence for a person and an exit code for the script around it."""

OK, FAILED, USAGE, REFUSED, NO_SERVER, DISK, STOPPED = 0, 1, 2, 3, 4, 5, 130
_SHOWN = 600  # characters


class Problem(Exception):
    """Something that ends a command. The message is a sentence."""

    code = FAILED


class Usage(Problem):
    """Wrong arguments, table or workflow file."""

    code = USAGE


class Refused(Problem):
    """A server did not accept a workflow: it would refuse it again."""

    code = REFUSED


class Lost(Problem):
    """A server can't be reached, went away, or has forgotten what it was asked for; another one may do it."""

    code = NO_SERVER


class Disk(Problem):
    """The results can't be written."""

    code = DISK


def shown(text, limit: int = _SHOWN) -> str:
    """Text from elsewhere on one line, without control characters, and short."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)[: 4 * limit]).split())
    return words if len(words) <= limit else words[:limit] + "..."


def sentence(text: str) -> str:
    """Text as a sentence: with an end."""
    return text if text.endswith((".", "!", "?", "...")) else text + "."
