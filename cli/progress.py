"""One line on stderr that says how far things are; where stderr is no terminal, a line now and then."""

import sys
import time

from .graph import title_of
from .problems import shown

_BAR, _LINE = 20, 100  # letters
_EVERY = 10.0  # seconds between lines in a file


class Line:
    """The line. In a terminal it rewrites itself and is gone when it is closed. Elsewhere the first text and the last
    are written, and every ten seconds one of those between."""

    def __init__(self):
        self._rewrites = sys.stderr.isatty()
        self._waits, self._next = None, 0.0  # a text that is not written, and when one may be

    def write(self, text: str):
        text = shown(text, _LINE)
        if self._rewrites:
            self._print(f"\r\033[K{text}", end="")
        elif time.monotonic() >= self._next:
            self._waits, self._next = None, time.monotonic() + _EVERY
            self._print(text)
        else:
            self._waits = text

    def say(self, sentence: str):
        """A sentence that stays."""
        self._print(f"\r\033[K{sentence}" if self._rewrites else sentence)

    def close(self):
        if self._rewrites:
            self._print("\r\033[K", end="")
        elif self._waits is not None:
            self._print(self._waits)

    def _print(self, text, end="\n"):
        print(text, end=end, file=sys.stderr, flush=True)


class PromptLine(Line):
    """How far one prompt is, from a server's messages: nodes done, and the steps of the one at work."""

    def __init__(self, graph: dict):
        super().__init__()
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

    def _show(self, steps):
        share = len(self._done & self._graph.keys()) / len(self._graph)
        bar = "#" * round(share * _BAR)
        self.write(
            f"[{bar:.<{_BAR}}] {len(self._done)}/{len(self._graph)} {title_of(self._graph, self._at or '')}{steps}"
        )
