"""The pack taken out and put back: a graph saved while it was missing opens as it was before."""

import json

import pytest
from comfy_page import ComfyPage
from comfy_process import ROOT, ComfyServer, find_comfyui, prepare_base
from playwright.sync_api import sync_playwright

NAMES = ("facelets_cure", "instantid_basic", "two_people_masks", "wplus_edit")


@pytest.fixture(scope="module", params=["pinned", "newest"])
def front_end(request):
    newest = ROOT / "build/front-end/newest/comfyui_frontend_package/static"
    return {"pinned": [], "newest": ["--front-end-root", str(newest)]}[request.param]


def saved_by_page(base, front_end, chromium, workflows, known):
    """What a fresh server's page saves of the workflows it is given, and what it would queue of each."""
    with ComfyServer(base, find_comfyui(), extra_args=front_end) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = ComfyPage(browser.new_page(), server, vue=False, known=known)
        saved, queued = {}, {}
        for name, workflow in workflows.items():
            page.load(workflow)
            saved[name] = page.run("(app) => app.graph.serialize()")
            if known == "LandmarkControl":
                queued[name] = page.run("async (app) => (await app.graphToPrompt()).output")
        assert page.ours() == []
        browser.close()
    return saved, queued


def test_saved_workflows_open_unchanged(front_end, tmp_path, chromium):
    base = prepare_base(tmp_path)
    workflows = {name: json.loads((ROOT / f"workflows/{name}.json").read_text()) for name in NAMES}
    before, queued = saved_by_page(base, front_end, chromium, workflows, "LandmarkControl")
    (base / "custom_nodes/likeness").unlink()
    without, _ = saved_by_page(base, front_end, chromium, before, "KSampler")
    prepare_base(tmp_path)
    after, queued_again = saved_by_page(base, front_end, chromium, without, "LandmarkControl")
    assert queued_again == queued and all(queued.values())
    for name in NAMES:
        wanted, found = (
            {node["id"]: (node["type"], node.get("widgets_values")) for node in one[name]["nodes"]}
            for one in (before, after)
        )
        assert found == wanted
        assert sorted(after[name]["links"]) == sorted(before[name]["links"])
