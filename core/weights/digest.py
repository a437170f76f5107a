"""What names a file's content, whatever the file is called."""

import hashlib
from pathlib import Path

from .reader import WeightsError


def digest_of(path: str | Path) -> str:
    """SHA-256 of a file's content; WeightsError with one sentence if it can't be read."""
    path = Path(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(2**22):
                digest.update(part)
    except OSError as error:
        raise WeightsError(
            f"{path.name} can't be opened ({error.strerror}); check that the file is there and readable."
        ) from error
    return digest.hexdigest()
