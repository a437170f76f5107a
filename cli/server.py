"""A client for one ComfyUI server: its HTTP routes and its WebSocket. Nothing that a server says is trusted."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import requests
import websocket

from .problems import Lost, Problem, Refused, Usage, shown
from .sentences import refusal

LARGEST_ANSWER, LARGEST_FILE = 2**28, 2**33  # bytes: of JSON in memory, of a result on the disk
_CONNECT, _READ = 5, 60  # seconds
_GRACE = 3.0  # seconds that a server may be out of reach before it counts as gone
_LOOK = 5.0  # seconds between looks at the queue while the socket tells of the prompt
_LOOK_ALONE = 0.3  # the same where no socket does
_CHUNK = 2**20
_LOCAL = ("127.0.0.1", "localhost", "::1")
Show = Callable[[str, dict], None]  # event type and data of every message about a prompt


def address_of(text: str) -> str:
    """A server's address as `http://host:port`; Usage when it is none."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise Usage(f"{shown(text, 100)!r} is no server's address; write it as http://127.0.0.1:8188.")
    if parts.username is not None or parts.query or parts.fragment:
        raise Usage(f"{parts.hostname}: addresses are noted in manifests, so they can't hold passwords; use --header.")
    return url.rstrip("/")


class Server:
    """One server, by its address. `headers`: sent with every request, for a login at a proxy in front of it."""

    def __init__(self, address: str, headers: dict | None = None):
        self.address = address
        self.client_id = uuid.uuid4().hex
        self._headers = dict(headers or {})
        self._http = requests.Session()
        self._http.headers.update(self._headers)
        # a proxy in the environment has no business with this machine
        self._http.trust_env = urlsplit(address).hostname not in _LOCAL
        self._socket = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._drop_socket()
        self._http.close()

    def check(self):
        """Lost when it does not answer."""
        self._json("GET", "/system_stats")

    def infos(self, graph: dict) -> dict:
        """node class -> its entry of /object_info, of those classes of the graph that the server has."""
        found = {}
        for kind in sorted({node["class_type"] for node in graph.values()}):
            entry = self._json("GET", f"/object_info/{quote(kind, safe='')}")
            if isinstance(entry.get(kind), dict):
                found[kind] = entry[kind]
        return found

    def upload(self, path: Path, name: str) -> str:
        """Put a file into the server's input folder; returns the name that loaders there take.

        A file of this name with the same content is left as it is.
        """
        with open(path, "rb") as file:
            answer = self._json("POST", "/upload/image", files={"image": (name, file)})
        given, subfolder = answer.get("name"), answer.get("subfolder")
        if not isinstance(given, str):
            raise Lost(f"{self.address} did not say where it put {path.name}.")
        return f"{subfolder}/{given}" if isinstance(subfolder, str) and subfolder else given

    def has_model(self, folder: str, name: str) -> bool:
        """Whether a file of this name lies in a folder of models; `folder` is ComfyUI's name for it."""
        with self._asked("GET", f"/models/{quote(folder, safe='')}", stream=True) as answer:
            return answer.ok and name in self._read_json(answer, list)

    def has_input(self, name: str) -> bool:
        """Whether a file of this name lies in the server's input folder."""
        subfolder, _, filename = name.rpartition("/")
        params = {"filename": filename, "subfolder": subfolder, "type": "input"}
        with self._asked("GET", "/view", params=params, stream=True) as answer:
            return answer.ok

    def queue(self, graph: dict, prompt_id: str):
        """Queue a graph under an id of ours; Refused with a sentence for each complaint.

        When Lost is raised nobody knows whether it was queued: `find` does.
        """
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": self.client_id}
        with self._asked("POST", "/prompt", json=body, stream=True) as answer:
            said = self._read_json(answer) if answer.status_code in (200, 400) else self._raise_for(answer)
        complaints = refusal(graph, said)
        if answer.status_code == 400:
            raise Refused(complaints or f"{self.address} refused the workflow without a reason.")
        if complaints:  # it runs the part of the graph that it can
            self.withdraw(prompt_id)
            raise Refused(complaints)
        if said.get("prompt_id") != prompt_id:
            raise Refused(f"{self.address} gives prompts ids of its own; update its ComfyUI to 0.3.75 or newer.")

    def find(self, prompt_id: str) -> bool:
        """Whether the server has a prompt: waiting, running or finished."""
        return self._is_queued(prompt_id) or self.finished(prompt_id) is not None

    def finished(self, prompt_id: str) -> dict | None:
        """The history's entry of a finished prompt, None while it is waiting or running."""
        entry = self._json("GET", f"/history/{prompt_id}").get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def withdraw(self, prompt_id: str):
        """Take a prompt off the queue, or stop it if it is running; no other one is touched.

        ComfyUI does it in one step since 0.26.0; before, the prompt may slip from waiting to running between two.
        """
        with self._asked("POST", f"/api/jobs/{prompt_id}/cancel") as answer:
            if answer.ok:
                return
        self._asked("POST", "/queue", json={"delete": [prompt_id]}).close()
        self._asked("POST", "/interrupt", json={"prompt_id": prompt_id}).close()

    def listen(self):
        """Open the WebSocket; before `queue`, so that no message is missed. Where a proxy lets none through, `wait`
        does without."""
        scheme, rest = self.address.split("://", 1)
        url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws?clientId={self.client_id}"
        try:
            self._socket = websocket.create_connection(url, timeout=_CONNECT, header=self._headers, redirect_limit=0)
        except (OSError, websocket.WebSocketException):
            self._socket = None

    def wait(self, prompt_id: str, show: Show = lambda event, data: None) -> dict:
        """Wait until a prompt is finished; returns its history's entry.

        Without a socket, or after it breaks, it looks again and again. Lost when the server is gone or has no such
        prompt any more.
        """
        since = time.monotonic()
        while True:
            try:
                entry = self.finished(prompt_id)
                if entry is None and not self._is_queued(prompt_id):
                    entry = self.finished(prompt_id)  # it may have ended between the two
                    if entry is None:
                        raise _Forgotten(f"{self.address} lost the prompt; its queue was cleared, or it restarted.")
                if entry is not None:
                    return entry
                since = time.monotonic()
            except _Forgotten:
                raise
            except Lost:
                if time.monotonic() - since > _GRACE:
                    raise
                time.sleep(_LOOK_ALONE)
                continue
            self._hear(prompt_id, show)

    def download(self, filename: str, subfolder: str, kind: str) -> Iterator[bytes]:
        """The bytes of a file that a node wrote, piece by piece; Problem when the server does not have it."""
        params = {"filename": filename, "subfolder": subfolder, "type": kind}
        with self._asked("GET", "/view", params=params, stream=True) as answer:
            if not answer.ok:
                raise Problem(f"{self.address} no longer has {shown(filename, 80)} ({answer.status_code}).")
            yield from self._pieces(answer, LARGEST_FILE)

    def _is_queued(self, prompt_id):
        queue = self._json("GET", "/queue")
        items = [item for key in ("queue_running", "queue_pending") for item in queue.get(key) or ()]
        return any(isinstance(item, list) and len(item) > 1 and item[1] == prompt_id for item in items)

    def _hear(self, prompt_id, show):
        """Pass messages on until the prompt ends, or it is time to look at the queue."""
        if self._socket is None:
            time.sleep(_LOOK_ALONE)
            return
        until = time.monotonic() + _LOOK
        try:
            while (left := until - time.monotonic()) > 0:
                self._socket.settimeout(left)
                event, data = _message(self._socket.recv())
                if data.get("prompt_id") != prompt_id:
                    continue
                show(event, data)
                if event == "executing" and data.get("node") is None:
                    return
        except websocket.WebSocketTimeoutException:
            return
        except (OSError, websocket.WebSocketException):
            self._drop_socket()

    def _drop_socket(self):
        if self._socket is not None:
            self._socket.close(timeout=1)
            self._socket = None

    def _json(self, method, path, **what) -> dict:
        with self._asked(method, path, stream=True, **what) as answer:
            return self._read_json(answer) if answer.ok else self._raise_for(answer)

    def _read_json(self, answer, kind=dict):
        try:
            found = json.loads(b"".join(self._pieces(answer, LARGEST_ANSWER)))
        except (ValueError, RecursionError) as error:
            raise Lost(f"{self.address} answers with something else than JSON; is it a ComfyUI?") from error
        if not isinstance(found, kind):
            raise Lost(f"{self.address} answers with unexpected JSON; is it a ComfyUI?")
        return found

    def _pieces(self, answer, limit):
        total = 0
        try:
            for piece in answer.iter_content(_CHUNK):
                total += len(piece)
                if total > limit:
                    raise Problem(f"{self.address} sent more than {limit:,} bytes, which nothing here needs.")
                yield piece
        except requests.RequestException as error:
            raise Lost(f"{self.address} broke off in the middle of an answer.") from error

    def _asked(self, method, path, **what):
        url = self.address + path
        try:
            answer = self._http.request(method, url, timeout=(_CONNECT, _READ), allow_redirects=False, **what)
        except UnicodeError as error:
            raise Problem(f"{self.address} names a file in letters that can't be sent back.") from error
        except requests.RequestException as error:
            raise Lost(f"{self.address} does not answer; start ComfyUI there, or correct the address.") from error
        if answer.is_redirect:
            answer.close()
            target = shown(answer.headers.get("Location", ""), 200)
            raise Lost(f"{self.address} points elsewhere ({target}), and that is not followed; give the real address.")
        return answer

    def _raise_for(self, answer):
        if answer.status_code in (401, 403):
            raise Lost(f"{self.address} wants a login ({answer.status_code}); give it with --header.")
        if answer.status_code == 413:
            raise Problem(f"{self.address} takes no file this large; make it smaller or raise its --max-upload-size.")
        raise Lost(f"{self.address} answers {answer.status_code}.")


class _Forgotten(Lost):
    """A server that is there and does not have a prompt."""


def _message(text) -> tuple[str, dict]:
    """Event and data of a message; previews are bytes and nothing of ours."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
        event, data = found.get("type"), found.get("data")
    except (ValueError, RecursionError, AttributeError):
        return "", {}
    return (event, data) if isinstance(event, str) and isinstance(data, dict) else ("", {})
