"""A node's progress bar, and words below the node when the work takes long."""

import time
from collections.abc import Iterable, Iterator

from comfy.utils import ProgressBar
from comfy_execution.utils import get_executing_context

from .managed import check_interrupted

_PATIENCE = 1.0  # seconds: work that is done by then needs no words


def watched(parts: Iterable, total: int, doing: str) -> Iterator:
    """The parts of some work, tensors or lists of pictures, with the bar moved on by the length of each.

    Stops where the artist pressed cancel. `total` is the sum of the lengths; `doing` is what the words say, such as
    "Looking for faces".
    """
    bar, done, start = ProgressBar(total), 0, time.monotonic()
    spoken = False
    for part in parts:
        check_interrupted()
        if spoken or time.monotonic() - start >= _PATIENCE:
            spoken = True
            _say(f"{doing}: {done} of {total}")
        yield part
        done += len(part)
        bar.update(len(part))
    if spoken:
        _say(f"{doing}: done, {total}")


def _say(words):
    """Words below the node that runs, for the page that queued it; none where nobody looks."""
    context = get_executing_context()
    if context is None:  # no node runs: a script uses the pack by itself, where there may be no `server` to import
        return
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None and server.client_id is not None:
        server.send_progress_text(words, context.node_id, sid=server.client_id)
