"""A disk on which nothing large has room, for this process: files can't grow beyond a number of bytes."""

import resource
from contextlib import contextmanager


@contextmanager
def full_disk(limit: int):
    """Writes beyond `limit` bytes of any file fail half-way, as on a full disk, with EFBIG in place of ENOSPC."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
