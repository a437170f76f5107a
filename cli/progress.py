"""How far things are, on stderr: in a terminal a bar that is gone once it is closed, elsewhere now and then."""

import sys

from tqdm import tqdm

from .graph import title_of
from .problems import shown

_TITLE = 60  # letters
_EVERY = 10.0  # seconds, where stderr is no terminal


def bar(total: int, unit: str) -> tqdm:
    """A bar over so many things."""
    if sys.stderr.isatty():
        return tqdm(total=total, unit=unit, leave=False, miniters=0)
    return tqdm(total=total, unit=unit, mininterval=_EVERY, miniters=0, delay=_EVERY)


def say(sentence: str):
    """A sentence that stays, above a bar."""
    tqdm.write(sentence, file=sys.stderr)


class PromptBar:
    """How far one prompt is, from a server's messages: nodes done, and the steps of the one at work."""

    def __init__(self, graph: dict):
        self._bar = bar(len(graph), " nodes")
        self._graph, self._done, self._at = graph, set(), None

    def __call__(self, event: str, data: dict):
        """Takes every message about the prompt."""
        node = data.get("node")
        if event == "execution_cached" and isinstance(data.get("nodes"), list):
            self._done |= {one for one in data["nodes"] if isinstance(one, str)}
        elif event == "executing" and isinstance(node, str):
            self._done |= {self._at} - {None}
            self._at = node
            self._show("")
        elif event == "progress" and isinstance(node, str):
            value, most = data.get("value"), data.get("max")
            self._show(f" {value}/{most}" if isinstance(value, int) and isinstance(most, int) else "")

    def close(self):
        self._bar.close()

    def _show(self, steps):
        self._bar.set_postfix_str(shown(title_of(self._graph, self._at or "") + steps, _TITLE), refresh=False)
        self._bar.update(len(self._done & self._graph.keys()) - self._bar.n)
