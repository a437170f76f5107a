"""One server and one browser at a time: two front ends, and each with classic nodes and with Nodes 2.0."""

import shutil

import pytest
from comfy_page import ComfyPage
from comfy_process import ROOT, ComfyServer, find_comfyui, prepare_base
from playwright.sync_api import sync_playwright

NEWEST = ROOT / "build/front-end/newest/comfyui_frontend_package/static"


@pytest.fixture(scope="session", params=["pinned", "newest"])
def server(request, tmp_path_factory):
    base = prepare_base(tmp_path_factory.mktemp("comfyui"))
    front_end = {"pinned": [], "newest": ["--front-end-root", str(NEWEST)]}[request.param]
    with ComfyServer(base, find_comfyui(), extra_args=front_end) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    return shutil.which("chromium")


@pytest.fixture(scope="session")
def browser(server, chromium):
    """Opened after the server and closed before it: Playwright and ComfyServer each want the thread's event loop."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session", params=["classic", "vue"])
def page(request, server, browser):
    context = browser.new_context(viewport={"width": 1500, "height": 1400})
    yield ComfyPage(context.new_page(), server, vue=request.param == "vue")
    context.close()


@pytest.fixture
def comfy(page):
    """The page, which must not complain of this pack during the test."""
    page.complaints.clear()
    yield page
    assert page.ours() == []
    deprecated = [line for line in page.server.log_path.read_text().splitlines() if "deprecat" in line.lower()]
    assert not [line for line in deprecated if "likeness" in line.lower()]
