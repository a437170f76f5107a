"""Values for the inputs of nodes, as hypothesis strategies: what a schema allows, and all that it doesn't."""

import json

from damaged.in_text import NUMBERS, TEXTS
from hypothesis import strategies as st

OUTSIDE = "{outside}"  # stands for a folder that is nobody's, in names
NAMES = (
    "secret.safetensors", "../secret.safetensors", "../../secret.safetensors", "../../../outside/secret.safetensors",
    "..\\..\\outside\\secret.safetensors", f"{OUTSIDE}/secret.safetensors", f"{OUTSIDE}/secret.bin", f"{OUTSIDE}/x/",
    "instantid/../../../outside/secret.bin", f"instantid/{OUTSIDE}/secret.bin", "instantid/\0secret.bin", "instantid",
    "../secret.safetensors [input]", "../../outside/secret.safetensors [output]", "secret.safetensors [temp]",
    f"{OUTSIDE}/secret.safetensors [input]", "a/../../secret.safetensors [input]", "\\\\host\\share\\secret.npy",
    "C:\\secret.npy", "file:///etc/passwd", "/etc/passwd", "/dev/zero", "/proc/self/environ", "~/.ssh/id_rsa", "NUL",
    "insightface/../../outside", f"insightface/{OUTSIDE}", "face_encoders/../../../outside/secret.onnx",
    "CON", ".", "/",
    "x" * 5000, "a/" * 2000, "%2e%2e%2fsecret.safetensors", "..%5csecret", "${HOME}", "`id`", "$(id)", "{0}", "%s",
)  # fmt: skip
_MARKS = json.dumps({"size": [256, 256], "faces": [[[90, 100], [160, 100], [125, 140], [100, 180], [150, 180]]]})
_FACE = json.loads(_MARKS)["faces"][0]
MARKS = (
    _MARKS, json.dumps(_FACE), json.dumps([_FACE] * 2), "{}", "[]", "[[]]", "{", '{"faces": []}', '{"faces": null}',
    '{"size": [1, 1], "faces": [[[0,0],[0,0],[0,0],[0,0],[0,0]]]}', json.dumps([_FACE] * 5000), "[" * 50_000,
    '{"size": [1e9, 1e9], "faces": [[[1e8,1e8],[2e8,2e8],[3e8,3e8],[4e8,4e8],[5e8,5e8]]]}', '{"size": [1, 1e308]}',
    "[[1e999,0],[1,1],[2,2],[3,3],[4,4]]", "[[NaN,0],[1,1],[2,2],[3,3],[4,4]]", "[[1,2,3]]", '{"a": 1}', "true", '"x"',
    "[[536870912,-536870912],[-536870912,536870912],[0,0],[536870912,0],[0,536870912]]",
)  # fmt: skip
INDEXES = ("0", "all", "0,1", "1", "99", "", ",", "-1", "0,0,0", "0" * 5000, "1e3", "²", "all,0", "9" * 400,
           ",".join(map(str, range(3000))))  # fmt: skip
PROMPTS = (
    "portrait of a person, short curly black hair, glasses, smiling", "photo of a woman img, smiling", "img", "img img",
    "a man", "((((", "(a:1e999)", "(a:nan)", "embedding:../../secret", "{a|b", "green hat " * 300, "BREAK AND", "\\(",
)  # fmt: skip
_LAYERS = ("0-7", "all", "17-0", "0-99999999", "0-3, 8", "-", "0--1", "9" * 5000, "0," * 5000)
_DAMAGED = ("bad_", "odd_", "broken")  # in the names of what `place` puts into the folders
_PLAIN = st.one_of(st.sampled_from(TEXTS), st.text(max_size=40), st.sampled_from(NAMES))
_JSON = st.recursive(
    st.one_of(st.sampled_from([*NUMBERS, *TEXTS, None, True, False]), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inside: st.one_of(st.lists(inside, max_size=4), st.dictionaries(st.text(max_size=6), inside, max_size=4)),
    max_leaves=12,
)
_BY_NAME = {
    "landmarks": st.sampled_from(MARKS), "face_index": st.sampled_from(INDEXES), "index": st.sampled_from(INDEXES),
    "prompt": st.sampled_from(PROMPTS), "attributes": st.sampled_from(("", "hat", "curly red hair, green hat", ",,,")),
    "layers": st.sampled_from(_LAYERS), "trigger": st.sampled_from(("img", "", " ", "a woman", "\0", "(")),
    "filename_prefix": st.sampled_from(("person", "a/b", "%date%", "..", "ä/名前", "/", "", "a" * 300, ".")),
}  # fmt: skip
_MESH = {"frames": [[{"landmarks_xy": [[float(n % 22) * 10, n // 22 * 10.0] for n in range(478)], "score": 0.9}]]}
BOXES = (
    {"x": 40, "y": 40, "width": 150, "height": 150}, [{"x": -9e9, "y": 0, "width": 1e18, "height": 5}], [], [[]],
    [{"x": 1, "y": 1, "width": 0, "height": 1}], [[{"x": 0, "y": 0, "width": 64, "height": 64}]] * 3, {"x": 1}, None,
    [{"x": float("nan"), "y": 0, "width": 9, "height": 9}], [{"x": 1, "y": 2, "width": 3, "height": 4}] * 300, "x", 7,
    {"x": "1", "y": True, "width": 3, "height": 3}, [{"x": 255.5, "y": 255.5, "width": 0.001, "height": 0.001}],
)  # fmt: skip
MESHES = (
    _MESH, {**_MESH, "image_size": [256, 256]}, {"frames": []}, {"frames": [[]]}, {}, [], None, {"frames": [[{}]]},
    {"frames": [[{"landmarks_xy": [[1, 2]] * 5}]]}, {"frames": [[{"landmarks_xy": "x"}]]}, {"frames": "x"},
    {**_MESH, "image_size": [1, 2, 3]}, {**_MESH, "image_size": "x"}, {"frames": [[{"landmarks_xy": [[0, 0]] * 478}]]},
    {"frames": [[{"landmarks_xy": [[1e300, -1e300]] * 478}]]}, {"frames": [[None]]}, {"frames": [[_MESH, 3]]},
)  # fmt: skip


def allowed(name: str, kind, options: dict) -> st.SearchStrategy:
    """Values that a widget of this name, kind and options takes."""
    if isinstance(kind, list) or kind == "COMBO":
        choices = kind if isinstance(kind, list) else options.get("options") or [""]
        whole = [choice for choice in choices if not any(word in str(choice) for word in _DAMAGED)]
        usual = st.just(options["default"]) if "default" in options else st.sampled_from(whole or choices)
        return _often(usual, st.sampled_from(choices))
    if kind == "BOOLEAN":
        return st.booleans()
    if kind == "STRING":
        return _often(st.just(options.get("default", "")), _BY_NAME.get(name, st.text(max_size=20)))
    low, high = options.get("min", -(2**31)), options.get("max", 2**31)
    numbers = st.integers(low, high) if kind == "INT" else st.floats(low, high)
    return _often(st.just(options.get("default", 0)), st.one_of(numbers, st.sampled_from((low, high))))


def _often(usual, other):
    return st.integers(0, 2).flatmap(lambda way: usual if way else other)


def hostile(name: str) -> st.SearchStrategy:
    """Values that no widget gives."""
    return st.one_of(_PLAIN, _JSON, _BY_NAME.get(name, _PLAIN), st.sampled_from(NAMES))


def odd_tensor() -> st.SearchStrategy:
    """Inputs of FuzzTensor."""
    side = st.sampled_from((0, 1, 2, 7, 8, 33, 64, 200))
    shape = st.one_of(
        st.tuples(st.sampled_from((0, 1, 2, 5)), side, side, st.sampled_from((0, 1, 2, 3, 4, 5))),
        st.tuples(st.sampled_from((1, 2)), st.sampled_from((1, 3, 4, 8, 16)), side, side),
        st.tuples(st.sampled_from((0, 1, 3)), side, side),
        st.lists(st.sampled_from((0, 1, 2, 4, 8, 16)), max_size=6),
        st.sampled_from(((1, 1, 3000, 3), (1, 3000, 1, 3), (30, 16, 16, 3), (1, 3000, 1), (2, 4, 1, 8, 8))),
    )
    fill = st.sampled_from(("0", "1", "0.5", "nan", "inf", "-inf", "-1", "1e30", "noise", "noise"))
    kind = st.sampled_from(("float32", "float32", "float32", "float16", "bfloat16", "float64", "uint8", "int64"))
    return st.fixed_dictionaries({"shape": shape.map(lambda size: json.dumps(list(size))), "fill": fill, "kind": kind})
