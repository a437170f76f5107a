"""Makes the pictures of the help pages, web/docs/images/*.jpg, from what the nodes put out on drawn portraits.

    python scripts/help_pictures.py [NODE ...] [--out FOLDER]

ComfyUI runs in this process, as in tests/host. Faces are Facelets' own: nobody's photograph is in the repository.
"""

import argparse
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from facelets.world import Look, Pose, draw, sample_identity, sample_pose
from help_drawing import PICTURES, strip, table, wiring
from PIL import Image

TESTS = Path(__file__).resolve().parent.parent / "tests"

LOOK = Look("brown", "short", "curly", "none", "red", "none", "none", "none", "brown", "smiling", "teal", "flat")
PEOPLE = (8, 21, 35)  # seeds of three whom no training saw
PROMPT = (
    "a portrait of a person, long straight red hair, a green hat, brown eyes, clean-shaven, smiling, yellow background"
)
WISH = "a portrait of a person, long straight red hair, sunglasses, laughing"
WORDS = "red hair, sunglasses"


def portrait(person, pose=0, **look):
    """A drawn portrait as IMAGE [1,128,128,3]: `pose` 0 looks at the viewer, another number turns the head."""
    who = sample_identity(np.random.default_rng([2026, person]))
    head = sample_pose(np.random.default_rng([2027, pose])) if pose else Pose()
    picture = draw(who, replace(LOOK, **look), head).image
    return torch.from_numpy(np.asarray(picture).copy())[None].float() / 255


class Graph:
    """A graph that is written node by node; anything that is no link and no plain value is handed in as it is."""

    def __init__(self, pack):
        self.pack, self.prompt, self.result = pack, {}, None
        self.handed = pack.nodes["Given"].values = {}

    def add(self, class_type, **inputs):
        key = f"{class_type} {len(self.prompt)}"
        for name, value in inputs.items():
            if not isinstance(value, str | int | float | list):
                handed = f"given {len(self.handed)}"
                self.handed[handed] = value
                self.prompt[handed] = {"class_type": "Given", "inputs": {"key": handed}}
                inputs[name] = [handed, 0]
        self.prompt[key] = {"class_type": class_type, "inputs": inputs}
        return key

    def run(self, *shown):
        """Run what leads to the outputs `shown`, links; returns their values."""
        for link in shown:
            self.add("PreviewAny", source=link)
        self.result = self.pack.run_graph(self.prompt)
        return [self.result.values(node)[output] for node, output in shown]

    def preview(self, node):
        """The pictures that a node shows below itself."""
        folder = self.pack.base / "temp"
        return [
            Image.open(folder / saved["subfolder"] / saved["filename"]).convert("RGB")
            for saved in self.result.outputs[node]["images"]
        ]


class Facelets(Graph):
    """A graph with Facelets loaded, and what most pictures need."""

    def __init__(self, pack):
        super().__init__(pack)
        self.loader = self.add("LoadFacelets")
        self.model, self.clip, self.vae, self.control, self.adapter, self.encoder = ([self.loader, i] for i in range(6))

    def text(self, text):
        return [self.add("CLIPTextEncode", clip=self.clip, text=text), 0]

    def identity(self, image, combine="mean"):
        return self.add(
            "EncodeIdentity",
            face_encoder=self.encoder,
            image=image,
            combine=combine,
            face_index="0",
            on_no_face="error",
        )

    def applied(self, identity, prompt=PROMPT, weight=0.6):
        node = self.add(
            "ApplyIDAdapter", model=self.model, positive=self.text(prompt), negative=self.text(""),
            adapter=self.adapter, identity=identity, weight=weight, start_at=0.0, end_at=1.0, weight_type="linear",
            on_no_face="error",
        )  # fmt: skip
        return [[node, output] for output in range(3)]

    def sampled(self, model, positive, negative, seed=1):
        latent = [self.add("EmptyLatentImage", width=128, height=128, batch_size=1), 0]
        sampler = self.add(
            "KSampler", model=model, positive=positive, negative=negative, latent_image=latent, seed=seed, steps=20,
            cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0,
        )  # fmt: skip
        return [self.add("VAEDecode", samples=[sampler, 0], vae=self.vae), 0]

    def pose(self, positive, negative, image, **changes):
        placed = {"offset_x": 0.0, "offset_y": 0.0, "scale": 1.0, "rotate": 0.0, **changes}
        return self.add(
            "LandmarkControl", positive=positive, negative=negative, control_net=self.control, image=image,
            face_encoder=self.encoder, landmarks="", face_index="0", strength=0.8, start_at=0.0, end_at=1.0,
            on_no_face="error", **placed,
        )  # fmt: skip

    def posed(self, model, positive, negative, seed=1):
        """Sampled, looking at the viewer."""
        node = self.pose(positive, negative, portrait(PEOPLE[1]))
        return self.sampled(model, [node, 0], [node, 1], seed)

    def drawn(self, identity, prompt=PROMPT, weight=0.6):
        return self.posed(*self.applied(identity, prompt, weight))


def group():
    return torch.cat([portrait(person, background="white") for person in PEOPLE], 2)


def load_facelets(pack):
    graph = Facelets(pack)
    words = [
        ("portrait", "short curly blue hair, glasses, brown eyes, clean-shaven, smiling, teal background"),
        ("portrait", "long straight red hair, green eyes, clean-shaven, neutral, purple background"),
        ("an ink portrait", "short grey hair, a blue beanie, brown eyes, beard, smiling, orange background"),
        ("a pastel portrait", "shoulder-length straight blond hair, glasses, sad, white background"),
    ]
    texts = [f"{kind} of a person, {rest}" for kind, rest in words]
    made = graph.run(*(graph.sampled(graph.model, graph.text(text), graph.text(""), seed=3) for text in texts))
    labels = ["curly blue hair, glasses", "long red hair", "ink, blue beanie", "pastel, glasses, sad"]
    return strip(zip(made, labels, strict=True))


def load_face_encoder(pack):
    graph = Facelets(pack)
    others = [portrait(who, 3, hair_color="red", expression="sad", background="navy") for who in PEOPLE]
    judges = [
        graph.add("IDSimilarity", face_encoder=graph.encoder, image=torch.cat(others), threshold=0.0,
                  on_no_face="error", identity=[graph.identity(portrait(who)), 0])
        for who in PEOPLE
    ]  # fmt: skip
    return table([portrait(who) for who in PEOPLE], others, graph.run(*([judge, 2] for judge in judges)))


def detect_faces(pack):
    graph = Facelets(pack)
    node = graph.add("DetectFaces", face_encoder=graph.encoder, image=group(), order="left to right", index="all",
                     on_no_face="error", mask_from="landmarks", soft_edge=0.1)  # fmt: skip
    crops, mask = graph.run([node, 1], [node, 2])
    cells = [(crop, f"crop {number}") for number, crop in enumerate(crops)]
    [shown] = graph.preview(node)
    return strip([(shown, "preview")], [(mask, "mask, from landmarks, soft_edge 0.1")], cells)


def assign_faces(pack):
    graph = Facelets(pack)
    known = [portrait(who, 5, hair_color="black") for who in (PEOPLE[2], PEOPLE[0])]
    first, second = ([graph.identity(photograph), 0] for photograph in known)
    node = graph.add("AssignFaces", face_encoder=graph.encoder, image=group(), by="similarity", identity_1=first,
                     identity_2=second, min_similarity=0.0, on_no_face="error")  # fmt: skip
    masks = graph.run([node, 1], [node, 2])
    [shown] = graph.preview(node)
    people = [(photograph, f"identity_{number}") for number, photograph in enumerate(known, 1)]
    return strip([*people, (shown, "preview")], [(mask, f"mask_{number}") for number, mask in enumerate(masks, 1)])


def encode_identity(pack):
    graph = Facelets(pack)
    looks = ({}, {"hair_color": "red"}, {"expression": "sad"}, {"hat": "beanie", "hat_color": "blue"})
    photographs = [portrait(PEOPLE[0], pose, **look) for pose, look in enumerate(looks, 1)] + [portrait(PEOPLE[2])]
    ways = ("robust", "mean")
    nodes = [graph.identity(torch.cat(photographs), way) for way in ways]
    alone = graph.identity(photographs[0])
    *made, one = graph.run(*(graph.drawn([node, 0]) for node in (*nodes, alone)))
    labels = ["photograph 1", "2", "3", "4", "5: somebody else"]
    below = [*zip(made, (f"drawn, {way} of all" for way in ways), strict=True), (one, "drawn, 1 alone")]
    return strip(zip(photographs, labels, strict=True), below)


def save_identity(pack):
    graph = Facelets(pack)
    before = [graph.identity(portrait(PEOPLE[0])), 0]
    saver = graph.add("SaveIdentity", identity=before, filename_prefix="identities/anna")
    [drawn] = graph.run(graph.drawn(before))
    [saved] = graph.result.outputs[saver]["identities"]
    graph = Facelets(pack)
    name = f"{saved['subfolder']}/{saved['filename']} [output]"
    [again] = graph.run(graph.drawn([graph.add("LoadIdentity", identity_file=name), 0]))
    assert torch.equal(drawn, again)
    return strip([(portrait(PEOPLE[0]), "photograph"), (drawn, "drawn before saving"), (again, "drawn after loading")])


def sample_identity_(pack):
    graph = Facelets(pack)
    people = [portrait(seed) for seed in range(60, 72)]
    known = graph.identity(torch.cat(people))
    new = graph.add("SampleIdentity", identities=[known, 0], seed=5, max_similarity=0.8, count=4)
    [drawn] = graph.run(graph.drawn([new, 0]))
    labels = ["4 of a set of 12", "", "", ""]
    new_ones = [(picture, f"new {number}") for number, picture in enumerate(drawn, 1)]
    return strip(zip(people[:4], labels, strict=True), new_ones)


def apply_id_adapter(pack):
    graph = Facelets(pack)
    who, weights = [graph.identity(portrait(PEOPLE[0])), 0], (0.0, 0.3, 0.6, 0.9)
    made = graph.run(*(graph.drawn(who, weight=weight) for weight in weights))
    cells = [(picture, f"weight {weight}") for picture, weight in zip(made, weights, strict=True)]
    return strip([(portrait(PEOPLE[0]), "photograph"), *cells], heading=f"“{PROMPT}”")


def landmark_control(pack):
    rows = []
    for changes in ({}, {"scale": 0.7, "rotate": 20.0}):
        graph = Facelets(pack)
        model, *prompts = graph.applied([graph.identity(portrait(PEOPLE[0])), 0])
        pose = portrait(PEOPLE[1], 9, hair_color="blond", background="purple")
        node = graph.pose(*prompts, pose, **changes)
        [drawn] = graph.run(graph.sampled(model, [node, 0], [node, 1]))
        control, over = graph.preview(node)
        words = " ".join(f"{name} {value:g}" for name, value in changes.items())
        rows.append([(pose, "image"), (over, words or "preview"), (control, "control_image"), (drawn, "drawn")])
    return strip(*rows)


def cured(pack):
    """The prompt alone, with the identity, cured, and the cure's mask and overlay."""
    graph, seed = Facelets(pack), 7
    who = [graph.identity(portrait(PEOPLE[0])), 0]
    model, *prompts = graph.applied(who, WISH, 0.8)
    cure = graph.add(
        "AttributeCure", model=model, clip=graph.clip, prompt=WISH, attributes=WORDS, mode="noise_blend",
        trajectory="shared", strength=1.0, abstract_pass=0.0, start_at=0.0, end_at=1.0,
    )  # fmt: skip
    after = graph.posed([cure, 0], *prompts, seed)
    shown = graph.add("CureMask", model=[cure, 0], image=after, opacity=0.5)
    plain = graph.posed(graph.model, graph.text(WISH), graph.text(""), seed)
    return graph.run(plain, graph.posed(model, *prompts, seed), after, [shown, 0], [shown, 1])


def attribute_cure(pack):
    labels = ["photograph", "the prompt alone", "with the identity", "cured"]
    return strip(zip([portrait(PEOPLE[0]), *cured(pack)[:3]], labels, strict=True), heading=f"“{WISH}”")


def cure_mask(pack):
    labels = ["cured picture", "mask", "overlay"]
    return strip(zip(cured(pack)[2:], labels, strict=True))


def id_similarity(pack):
    graph = Facelets(pack)
    batch = [portrait(person, pose) for pose, person in enumerate((8, 8, 21, 35, 8), 1)]
    image = torch.cat([*batch, torch.full_like(batch[0], 0.4)])
    node = graph.add("IDSimilarity", face_encoder=graph.encoder, image=image, threshold=0.6, on_no_face="skip",
                     reference=portrait(8))  # fmt: skip
    graph.run([node, 4])
    [sheet] = graph.preview(node)
    return sheet


def wired(*wires):
    """A picture of how nodes hang together: wires (node, output, node, input), and the wires' sockets of each node."""

    def make(pack):
        shown = {"KSampler": (["model", "positive", "negative"], [])}
        for name, node in pack.own_nodes().items():
            schema = node.GET_SCHEMA()
            inputs = [one.id for one in schema.inputs if not hasattr(one, "default")]
            shown[name] = inputs, [one.display_name for one in schema.outputs]
        names = dict.fromkeys(name for wire in wires for name in (wire[0], wire[2]))
        return wiring({name: shown[name] for name in names}, wires)

    return make


MAKERS = {
    "LoadFacelets": load_facelets,
    "LoadFaceEncoder": load_face_encoder,
    "DetectFaces": detect_faces,
    "AssignFaces": assign_faces,
    "EncodeIdentity": encode_identity,
    "SaveIdentity": save_identity,
    "SampleIdentity": sample_identity_,
    "EditIdentity": wired(
        ("LoadFaceEncoder", "face_encoder", "EncodeIdentity", "face_encoder"),
        ("EncodeIdentity", "identity", "EditIdentity", "identity"),
        ("EditIdentity", "identity", "ApplyIDAdapter", "identity"),
    ),
    "LoadIDAdapter": wired(
        ("LoadIDAdapter", "adapter", "ApplyIDAdapter", "adapter"),
        *(("ApplyIDAdapter", name, "KSampler", name) for name in ("model", "positive", "negative")),
    ),
    "ApplyIDAdapter": apply_id_adapter,
    "IDTextEncode": wired(
        ("LoadIDAdapter", "adapter", "IDTextEncode", "adapter"),
        ("LoadIDAdapter", "adapter", "ApplyIDAdapter", "adapter"),
        ("IDTextEncode", "conditioning", "ApplyIDAdapter", "positive"),
    ),
    "Arc2FaceTextEncode": wired(
        ("LoadFaceEncoder", "face_encoder", "EncodeIdentity", "face_encoder"),
        ("EncodeIdentity", "identity", "Arc2FaceTextEncode", "identity"),
        ("Arc2FaceTextEncode", "conditioning", "KSampler", "positive"),
    ),
    "LandmarkControl": landmark_control,
    "AttributeCure": attribute_cure,
    "CureMask": cure_mask,
    "IDSimilarity": id_similarity,
}


def main():
    sys.path.insert(0, str(TESTS))
    torch.set_num_threads(1)  # the models are too small for a second thread to help
    comfy, cases = importlib.import_module("comfy_process"), importlib.import_module("node_cases")
    pack = comfy.load_likeness()
    pack.nodes["Given"] = cases.Given
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NODE", help="without any all of them")
    parser.add_argument("--out", type=Path, default=PICTURES, metavar="FOLDER")
    given = parser.parse_args()
    if unknown := set(given.names) - MAKERS.keys():
        parser.error(f"there is no picture of {min(unknown)}")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or MAKERS:
        path = given.out / f"{name}.jpg"
        MAKERS[name](pack).save(path, quality=88, optimize=True)
        print(json.dumps({"picture": path.name, "bytes": path.stat().st_size}), flush=True)


if __name__ == "__main__":
    main()
