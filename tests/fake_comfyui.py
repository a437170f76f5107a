"""A stand-in for a ComfyUI server, to say what a real one never says: HTTP routes, a queue, a history, a WebSocket.

Each prompt is finished at once, with what `answers` says of its outputs and files.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

INFO = {
    "Load": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}},
    "Draw": {
        "input": {
            "required": {"seed": ["INT", {}], "text": ["STRING", {}], "model": ["MODEL"]},
            "optional": {"strength": ["FLOAT", {}], "on": ["BOOLEAN", {}], "how": ["COMBO", {"options": ["a", "b"]}]},
        }
    },
    "IDSimilarity": {"input": {"required": {"threshold": ["FLOAT", {}]}}},
}
GRAPH = {
    "1": {"class_type": "Load", "inputs": {"image": "a.png"}, "_meta": {"title": "Photograph, v1.2"}},
    "2": {"class_type": "Draw", "inputs": {"seed": 1, "text": "x", "model": ["1", 0]}, "_meta": {"title": "Draw"}},
}
SUCCESS = {"status_str": "success", "completed": True, "messages": []}


class FakeServer:
    """`with FakeServer() as fake:` listens at `fake.address`. What it was asked is in prompts, uploads and posts."""

    def __init__(self):
        self.outputs = {"2": {"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]}}
        self.files = {"x.png": b"picture"}  # name -> bytes of /view, whatever its subfolder
        self.status = SUCCESS
        self.refusal = None  # the answer to /prompt, with 400
        self.answer = {}  # put over the answer to /prompt
        self.routes = {}  # path -> (status, headers, body): said instead of what a ComfyUI says
        self.forgets = False  # takes prompts and knows nothing of them
        self.events = []  # sent over the WebSocket when a prompt comes
        self.prompts, self.uploads, self.posts, self.history, self.waiting = {}, {}, [], {}, []
        self.keys = []  # the header X-Key of every request
        self._sockets = []

    def __enter__(self):
        class Handler(_Handler):
            fake = self

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        self._http.shutdown()
        self._http.server_close()

    def take(self, body):
        """A prompt comes in."""
        if self.refusal is not None:
            return 400, self.refusal
        self.prompts[body["prompt_id"]] = body["prompt"]
        if not self.forgets:
            self.history[body["prompt_id"]] = {"outputs": self.outputs, "status": self.status}
        for event in self.events:
            for socket in self._sockets:
                socket.sendall(_frame(json.dumps({**event, "data": {"prompt_id": body["prompt_id"], **event["data"]}})))
        return 200, {"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}, **self.answer}

    def get(self, path, query):
        name = path.rpartition("/")[2]
        if path.startswith("/history/"):
            return 200, {name: self.history[name]} if name in self.history else {}
        if path.startswith("/object_info/"):
            return 200, {name: INFO[name]} if name in INFO else {}
        if path == "/queue":
            return 200, {"queue_running": [], "queue_pending": [[0, one] for one in self.waiting]}
        if path == "/view":
            return (200, self.files[query["filename"]]) if query["filename"] in self.files else (404, b"")
        return 200, {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the one before it

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.fake.keys.append(self.headers.get("X-Key"))
        parts = urlsplit(self.path)
        if parts.path in self.fake.routes:
            self._send(*self.fake.routes[parts.path])
        elif parts.path == "/ws":
            self._upgrade()
        else:
            self._answer(
                *self.fake.get(parts.path, {key: value[0] for key, value in parse_qs(parts.query, True).items()})
            )

    def do_POST(self):
        self.fake.keys.append(self.headers.get("X-Key"))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.fake.posts.append((self.path, body))
        if self.path in self.fake.routes:
            self._send(*self.fake.routes[self.path])
        elif self.path == "/prompt":
            self._answer(*self.fake.take(json.loads(body)))
        elif self.path == "/upload/image":
            name = body.split(b'filename="')[1].split(b'"')[0].decode()
            self.fake.uploads[name] = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
            self._answer(200, {"name": name, "subfolder": "", "type": "input"})
        elif self.path.startswith("/api/"):  # 0.3.75 has none that is posted to
            self._answer(405, b"405: Method Not Allowed")
        else:
            self._answer(200, {})

    def _answer(self, status, content):
        self._send(status, {}, content if isinstance(content, bytes) else json.dumps(content).encode())

    def _send(self, status, headers, body):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if int(headers.get("Content-Length", len(body))) != len(body):
            self.close_connection = True

    def _upgrade(self):
        seed = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade")):
            self.send_header(name, value)
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(seed.encode()).digest()).decode())
        self.end_headers()
        self.fake._sockets.append(self.connection)
        self.rfile.read(1)  # until the client goes
        self.close_connection = True


def _frame(text):
    content = text.encode()
    size = bytes([len(content)]) if len(content) < 126 else b"\x7e" + len(content).to_bytes(2, "big")
    return b"\x81" + size + content
