"""One line on stderr that says how far things are; nothing where stderr is no terminal."""

import sys

from .graph import title_of
from .problems import shown

_BAR, _LINE = 20, 100  # letters


class Line:
    """The line. It rewrites itself and is gone when it is closed."""

    def __init__(self):
        self._seen = sys.stderr.isatty()

    def write(self, text: str):
        if self._seen:
            print(f"\r\033[K{shown(text, _LINE)}", end="", file=sys.stderr, flush=True)

    def close(self):
        if self._seen:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


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
