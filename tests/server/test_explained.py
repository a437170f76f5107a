"""What the page asks a server for: translations, help pages and their pictures."""

import json

import pytest
import requests
from comfy_process import ROOT


@pytest.fixture(scope="module")
def get(server):
    session = requests.Session()
    session.trust_env = False

    def fetch(path):
        answer = session.get(f"http://127.0.0.1:{server.port}{path}", timeout=30)
        assert answer.ok, (path, answer.status_code)
        return answer

    return fetch


@pytest.mark.parametrize("language", ("en", "zh", "ja"))
def test_translations_are_served(get, language):
    served = get("/api/i18n").json()[language]["nodeDefs"]
    ours = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text())
    assert {name: served[name] for name in ours} == ours


def test_help_pages_and_pictures_are_served(get):
    for path in sorted((ROOT / "web/docs").rglob("*.*")):
        served = get(f"/extensions/likeness/docs/{path.relative_to(ROOT / 'web/docs')}")
        assert served.content == path.read_bytes()
