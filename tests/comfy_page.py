"""ComfyUI's page in a headless browser: loads workflows, reads widgets, queues, and remembers complaints."""

import time

import requests

APP = "window.comfyAPI.app.app"
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.Minimap.Visible": False,
}
LEFT, TOP = 130, 90  # where `look_at` puts a node's corner, beside the page's own bars


class ComfyPage:
    """`page` is Playwright's, `server` a ComfyServer, `vue` whether the nodes are Nodes 2.0.

    The page is ready when it has a node of the class `known`.
    """

    def __init__(self, page, server, vue: bool, palette: str = "dark", known: str = "LandmarkControl"):
        self.page, self.server, self.vue = page, server, vue
        self.complaints = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"{error.message}\n{error.stack}"))
        self.address = f"http://127.0.0.1:{server.port}"
        settings = {**SETTINGS, "Comfy.VueNodes.Enabled": vue, "Comfy.ColorPalette": palette}
        requests.post(f"{self.address}/settings", json=settings, timeout=30).raise_for_status()
        page.goto(self.address)
        ready = f"window.LiteGraph?.registered_node_types.{known} && {APP}.vueAppReady && {APP}.graph"
        page.wait_for_function(ready, timeout=120_000)
        page.wait_for_timeout(1000)  # the page opens its first workflow once more when all nodes are known

    def _on_console(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def ours(self) -> list[str]:
        """Complaints that name this pack, by their words or by where they come from."""
        return [complaint for complaint in self.complaints if "likeness" in complaint.lower()]

    def run(self, code: str, value=None):
        """A JavaScript function of (app, value), run in the page."""
        return self.page.evaluate(f"async (value) => ({code})({APP}, value)", value)

    def load(self, workflow: dict):
        """Open a workflow as the page saves it."""
        self.run("async (app, workflow) => { await app.loadGraphData(workflow); }", workflow)
        self._settle()

    def load_api(self, graph: dict):
        """Open a graph in API format."""
        self.run("async (app, graph) => { await app.loadApiJson(graph, 'test'); }", graph)
        self._settle()

    def _settle(self):
        self.page.wait_for_timeout(500)
        while self.page.locator(".p-dialog-mask").count():  # the page tells about models that are not here
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(300)

    def value(self, kind: str, widget: str):
        find = "app.graph.nodes.find(n => n.comfyClass === kind).widgets.find(w => w.name === name).value"
        return self.run(f"(app, [kind, name]) => {find}", [kind, widget])

    def set_value(self, kind: str, widget: str, value):
        code = """(app, [kind, name, value]) => {
            const widget = app.graph.nodes.find(n => n.comfyClass === kind).widgets.find(w => w.name === name);
            widget.value = value;
            widget.callback?.(value);
        }"""
        self.run(code, [kind, widget, value])

    def look_at(self, kind: str, down: int = 0, scale: float = 1.0):
        """Bring a node's corner, or what lies `down` pixels below it, into view."""
        code = """(app, [kind, down, scale, left, top]) => {
            const node = app.graph.nodes.find(n => n.comfyClass === kind);
            app.canvas.ds.scale = scale;
            app.canvas.ds.offset = [left / scale - node.pos[0], top / scale - node.pos[1] - down];
            app.canvas.setDirty(true, true);
        }"""
        self.run(code, [kind, down, scale, LEFT, TOP])
        self.page.wait_for_timeout(500)

    def queue(self, timeout: float = 240) -> dict:
        """Queue the graph as the button does; returns its history entry when the server has finished it."""
        before = self._history()
        self.run("async (app) => { await app.queuePrompt(0, 1); }")
        deadline = time.monotonic() + timeout
        while not (fresh := self._history().keys() - before.keys()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The page's prompt was not done within {timeout} s.")
            self.page.wait_for_timeout(300)
        self.page.wait_for_timeout(700)  # the page draws what the last message brought
        [prompt] = fresh
        return self._history()[prompt]

    def _history(self):
        return requests.get(f"{self.address}/history", timeout=30).json()

    @property
    def pose(self):
        return self.page.get_by_role("group", name="Pose of the face")

    def picker(self, widget: str):
        """The face picker that writes a widget of this name."""
        return self.page.get_by_role("group", name=f"Choose faces: {widget}", exact=True)
