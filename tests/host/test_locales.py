"""locales/: English is what the nodes say, Chinese and Japanese are whole translations of it."""

import importlib.util
import json
import re

import pytest
from comfy_process import ROOT

LOCALES = ROOT / "locales"
LANGUAGES = ("zh", "ja")
_SCRIPTS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff\u4e00-\u9fff]"}
_PROPER = {"CLIP", "VAE", "LoRA", "ControlNet"}  # names that are the same in every language


def words(language):
    return json.loads((LOCALES / language / "nodeDefs.json").read_text())


def flat(tree, path=()):
    """{path: text} of every word in a tree."""
    if isinstance(tree, str):
        return {path: tree}
    return {key: text for name, part in tree.items() for key, text in flat(part, (*path, name)).items()}


def numbers(text):
    return set(re.findall(r"\d+(?:\.\d+)?", text))


def files(text):
    """Folders and files: words with a stroke or a full stop inside."""
    return {one.rstrip(".") for one in re.findall(r"[\w-]+[/.][\w./-]+", text)}


def test_english_is_what_the_nodes_say(pack):
    spec = importlib.util.spec_from_file_location("help_pages", ROOT / "scripts/help_pages.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    nodes = {name: script.translatable(node.define_schema()) for name, node in pack.own_nodes().items()}
    assert (LOCALES / "en/nodeDefs.json").read_text() == script.as_text(nodes), "run scripts/help_pages.py"


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_are_whole(language):
    english, theirs = flat(words("en")), flat(words(language))
    missing, spare = english.keys() - theirs.keys(), theirs.keys() - english.keys()
    assert not missing and not spare, f"locales/{language}/nodeDefs.json: missing {missing}, no longer there {spare}"
    for path, text in theirs.items():
        assert text.strip() == text and text != english[path], path
        assert text in _PROPER or re.search(_SCRIPTS[language], text), (path, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_and_files_are_the_same(language):
    english, theirs = flat(words("en")), flat(words(language))
    for path, text in english.items():
        if path[-1] == "tooltip":
            own = theirs[path]
            assert numbers(text) <= numbers(own), (path, text, own)
            assert not [name for name in files(text) if name not in own], (path, text, own)


@pytest.mark.parametrize("language", ("en", *LANGUAGES))
def test_no_sign_that_the_page_would_read_as_code(language):
    """The page's translations take braces, pipes and at-signs for placeholders, plurals and links."""
    assert not [text for text in flat(words(language)).values() if re.search(r"[{}|@]", text)]


def test_options_named_in_english_are_named_everywhere(pack):
    for name, node in pack.own_nodes().items():
        for one in node.define_schema().inputs:
            for option in getattr(one, "options", None) or []:
                if re.search(rf"(?:^|[.,] ){re.escape(str(option))}[:,]", one.tooltip):
                    for language in LANGUAGES:
                        assert str(option) in words(language)[name]["inputs"][one.id]["tooltip"], (name, option)
