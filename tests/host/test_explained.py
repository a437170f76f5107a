"""Every node explains itself: names, descriptions, tooltips, and words to find it by."""

import importlib
import re
from collections import defaultdict

SHORTEST, LONGEST = 20, 300
# "0 changes nothing", "0.94 is a good start": what a tooltip says of one number
_CLAIM = re.compile(r"(?<![\w.])(-?\d+(?:\.\d+)?) (changes nothing|is none|is as trained|is a good start)")


def schemas(pack):
    return {name: node.define_schema() for name, node in pack.own_nodes().items()}


def sockets(schema):
    """(what it is, its tooltip) of every input and output."""
    yield from ((f"input {one.id}", one.tooltip) for one in schema.inputs)
    yield from ((f"output {one.id}", one.tooltip) for one in schema.outputs)


def number(one):
    return getattr(one, "min", None) is not None


def test_every_node_has_a_name_and_a_description(pack):
    for name, schema in schemas(pack).items():
        assert schema.display_name and schema.display_name.replace(" ", "") == name
        assert 2 * SHORTEST <= len(schema.description) <= LONGEST, name
        assert schema.description.endswith(".") and "  " not in schema.description, name


def test_every_input_and_output_has_a_tooltip(pack):
    for name, schema in schemas(pack).items():
        for what, tooltip in sockets(schema):
            assert SHORTEST <= len(tooltip or "") <= LONGEST, f"{name}, {what}: {tooltip!r}"
            assert tooltip[0].isupper() or tooltip.split(":")[0].split("/")[0].islower(), f"{name}, {what}: {tooltip!r}"
            assert tooltip.endswith(".") and "  " not in tooltip, f"{name}, {what}: {tooltip!r}"


def test_every_node_is_found_by_other_words_than_its_name(pack, monkeypatch):
    for name, node in pack.own_nodes().items():
        module = importlib.import_module(node.__module__)
        given, build = {}, module.schema  # an older io.Schema has no place for them
        monkeypatch.setattr(module, "schema", lambda g=given, b=build, **words: g.update(words) or b(**words))
        title = node.define_schema().display_name.lower()
        monkeypatch.undo()
        aliases = given["search_aliases"]
        assert len(aliases) >= 1 and len(set(aliases)) == len(aliases), name
        assert all(alias == alias.lower() and alias not in title for alias in aliases), (name, aliases)


def test_inputs_of_one_name_are_of_one_kind(pack):
    kinds = defaultdict(set)
    for name, schema in schemas(pack).items():
        for one in schema.inputs:
            if (name, one.id) != ("LoadIDAdapter", "adapter"):  # a file there, what is in it elsewhere
                kinds[one.id].add(one.get_io_type())
    assert not {name: found for name, found in kinds.items() if len(found) > 1}


def test_tooltips_of_one_name_do_not_contradict_each_other(pack):
    """What they say of a number or a choice holds for every input of that name, and within its range."""
    said, texts = defaultdict(set), defaultdict(dict)
    for name, schema in schemas(pack).items():
        for one in schema.inputs:
            for value, claim in _CLAIM.findall(one.tooltip):
                assert one.min <= float(value) <= one.max, f"{name}.{one.id}: {value} {claim}"
                said[one.id, claim].add(float(value))
            for choice in getattr(one, "options", None) or []:
                if explained := re.search(rf"(?:^|[.,] ){re.escape(str(choice))}: ([^.:]+)", one.tooltip):
                    texts[one.id, choice][name] = explained[1]
    assert not {what: values for what, values in said.items() if len(values) > 1}
    # what on_no_face and mask_from do is the node's own business
    own = {("on_no_face", "skip"), ("on_no_face", "passthrough")}
    assert not {what: by for what, by in texts.items() if len(set(by.values())) > 1 and what not in own}


def test_no_number_is_left_to_guess(pack):
    """The tooltip of each names at least one value."""
    for name, schema in schemas(pack).items():
        for one in filter(number, schema.inputs):
            if one.id not in ("seed", "count"):
                assert re.search(r"\d", one.tooltip), f"{name}.{one.id}: {one.tooltip}"
