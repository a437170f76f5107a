"""Prompts around one node of the pack, as hypothesis strategies: some inputs as its schema has them, some hostile."""

import json

from hypothesis import strategies as st

from . import values

WIRES = {"INT": 0, "FLOAT": 1, "STRING": 2, "BOOLEAN": 3, "FACE_LANDMARKS": 4, "BOUNDING_BOX": 5, "COMBO": 6}
TENSORS = {"IMAGE": 0, "MASK": 1, "LATENT": 2}
PICTURES = ("anna.png", "carl.png", "nobody.png", "one.png", "grey.png", "clear.png", "wide.png", "group.jpg")
_KITS = ("facelets", "facelets", "tiny_sd15", "tiny_sdxl")
_PACK = "insightface/buffalo_l"
# adapter and face encoder that belong to a kit's model
_BELONG = {
    "facelets": ((None, None),),
    "tiny_sd15": (("instantid/tiny_instantid_sd15.bin", "embedded"), ("ipadapter/faceid-sd15.bin", _PACK),
                  ("ipadapter/portrait-sd15.bin", _PACK), ("ipadapter/consistentid-sd15.bin", _PACK)),
    "tiny_sdxl": (("instantid/tiny_instantid.bin", "embedded"), ("ipadapter/photomaker-v2.bin", _PACK),
                  ("ipadapter/pulid-v1.1.bin", _PACK)),
}  # fmt: skip
_BAD_LINKS = ([], ["0"], ["0", 99], ["0", -1], ["none", 0], ["0", "0"], [0, 0], ["0", 1.5], [None, None], ["0", 0, 0])
_FACELETS = {"MODEL": 0, "CLIP": 1, "VAE": 2, "CONTROL_NET": 3, "LIKENESS_ADAPTER": 4, "LIKENESS_FACE_ENCODER": 5}
_CHECKPOINT = {"MODEL": 0, "CLIP": 1, "VAE": 2}


class _Graph:
    """A prompt that grows: sources of every type, found when an input asks for them."""

    def __init__(self, draw, info: dict):
        self.draw, self.info, self.nodes = draw, info, {}
        self.kit = draw(st.sampled_from(_KITS))
        self.adapter, self.encoder = draw(st.sampled_from(_BELONG[self.kit]))

    def add(self, kind: str, /, **inputs) -> str:
        name = f"{len(self.nodes)}"
        self.nodes[name] = {"class_type": kind, "inputs": inputs}
        return name

    def shared(self, kind: str, /, **inputs) -> str:
        """A node that is there once."""
        known = {"class_type": kind, "inputs": inputs}
        return next((name for name, node in self.nodes.items() if node == known), None) or self.add(kind, **inputs)

    def source(self, kind: str) -> list:
        """A link to something good of a type."""
        makers = {"IMAGE": self._image, "MASK": self._mask, "LATENT": self._latent, "CONDITIONING": self._conditioning,
                  "LIKENESS_IDENTITY": self._identity, "LIKENESS_FACES": self._faces}  # fmt: skip
        if kind in makers:
            return makers[kind]()
        if kind in WIRES:
            return self.odd(kind)
        from_facelets = self.kit == "facelets" or kind in ("CONTROL_NET", "LIKENESS_ADAPTER") and self.chance(3)
        if kind in _FACELETS and from_facelets:
            return [self.shared("LoadFacelets"), _FACELETS[kind]]
        if kind in _CHECKPOINT:
            return [self.shared("CheckpointLoaderSimple", ckpt_name=f"{self.kit}.safetensors"), _CHECKPOINT[kind]]
        if kind == "CONTROL_NET":
            return [self.shared("ControlNetLoader", control_net_name="tiny_sdxl_controlnet.safetensors"), 0]
        if kind == "LIKENESS_FACE_ENCODER":
            search = "auto" if self.chance(3) else "plain"
            return [self.shared("LoadFaceEncoder", encoder=self.encoder or "embedded", detector="mtcnn",
                                min_confidence=0.5, search=search), 0]  # fmt: skip
        if kind == "LIKENESS_ADAPTER":
            options = self.info["LoadIDAdapter"]["input"]["required"]["adapter"]
            name = self.draw(values.allowed("adapter", *options)) if self.chance(4) else self.adapter
            return [self.shared("LoadIDAdapter", adapter=name or "instantid/tiny_instantid.bin"), 0]
        return self.odd("STRING")  # CLIP_VISION and others for which there is nothing small

    def chance(self, of: int) -> bool:
        return self.draw(st.integers(1, of)) == 1

    def _image(self):
        way = self.draw(st.integers(0, 5))
        if way <= 2:
            return [self.shared("LoadImage", image=self.draw(st.sampled_from(PICTURES))), 0]
        if way == 3:
            pictures = [[self.shared("LoadImage", image=name), 0] for name in ("anna.png", "carl.png")]
            return [self.add("ImageBatch", image1=pictures[0], image2=pictures[1]), 0]
        side = st.sampled_from((1, 2, 15, 16, 64, 65, 257, 640))
        size = {
            "width": self.draw(side),
            "height": self.draw(side),
            "batch_size": self.draw(st.sampled_from((1, 1, 3))),
        }
        made = [self.add("EmptyImage", **size, color=self.draw(st.sampled_from((0, 255, 0xFFFFFF)))), 0]
        if way == 4:
            return made
        return [self.add("JoinImageWithAlpha", image=made, alpha=self._mask()), 0]

    def _mask(self):
        side = st.sampled_from((1, 16, 64, 257))
        value = self.draw(st.sampled_from((0.0, 0.5, 1.0)))
        return [self.add("SolidMask", value=value, width=self.draw(side), height=self.draw(side)), 0]

    def _latent(self):
        side = st.sampled_from((16, 64, 128, 136, 256))
        kind = self.draw(st.sampled_from(("EmptyLatentImage", "EmptyLatentImage", "EmptySD3LatentImage")))
        batch = self.draw(st.sampled_from((1, 1, 2)))
        return [self.add(kind, width=self.draw(side), height=self.draw(side), batch_size=batch), 0]

    def _conditioning(self):
        text = self.draw(st.sampled_from(("", "portrait of a person, glasses, smiling", "a man")))
        return [self.shared("CLIPTextEncode", clip=self.source("CLIP"), text=text), 0]

    def _identity(self):
        if self.chance(4):
            options = self.info["LoadIdentity"]["input"]["required"]["identity_file"]
            return [self.shared("LoadIdentity", identity_file=self.draw(values.allowed("", *options))), 0]
        picture = [self.shared("LoadImage", image=self.draw(st.sampled_from(("anna.png", "carl.png", "group.jpg")))), 0]
        options = {
            "combine": "mean",
            "face_index": self.draw(st.sampled_from(("0", "all"))),
            "on_no_face": "passthrough",
        }
        return [self.shared("EncodeIdentity", face_encoder=self.source("LIKENESS_FACE_ENCODER"), image=picture,
                            **options), 0]  # fmt: skip

    def _faces(self):
        options = {"order": "largest", "index": "all", "on_no_face": "passthrough"}
        return [self.shared("DetectFaces", face_encoder=self.source("LIKENESS_FACE_ENCODER"), image=self._image(),
                            **options), 0]  # fmt: skip

    def odd(self, kind: str) -> list:
        """A link to something of the right type that no widget would give."""
        if kind in TENSORS:
            return [self.add("FuzzTensor", **self.draw(values.odd_tensor())), TENSORS[kind]]
        given = {"FACE_LANDMARKS": st.sampled_from(values.MESHES), "BOUNDING_BOX": st.sampled_from(values.BOXES),
                 "INT": st.sampled_from((-1, 0, 1, 10**9, -(10**18), 2**64, 2**63, 10**30)),
                 "FLOAT": st.sampled_from((float("nan"), float("inf"), float("-inf"), -1.0, 2.0, 1e30, -1e30, 1e-30)),
                 }  # fmt: skip
        value = self.draw(given.get(kind, values.hostile(kind)))
        return [self.add("FuzzValue", value=json.dumps(value)), WIRES.get(kind, 2)]

    def hostile(self, name: str, kind: str):
        """Anything but what the input asks for, a link to something odd, or None: nothing at all."""
        way = self.draw(st.integers(0, 9))
        if way <= 3 and (kind in WIRES or kind in TENSORS):
            return self.odd(kind)
        if way == 4:
            return None
        if way == 5:  # something good of another type
            return self.source(self.draw(st.sampled_from(("IMAGE", "MASK", "LIKENESS_IDENTITY", "CLIP", "LATENT"))))
        if way == 6:
            return self.draw(st.sampled_from(_BAD_LINKS))
        return self.draw(values.hostile(name))


@st.composite
def prompts(draw, info: dict, names: tuple[str, ...]):
    """(node class, prompt): one of `names` in the middle, what it needs before it, and all its outputs used."""
    graph = _Graph(draw, info)
    name = draw(st.sampled_from(names))
    inputs, described = {}, info[name]["input"]
    given = _prepared(graph, name)
    optional = described.get("optional", {})
    every = {**described.get("required", {}), **optional}
    count = draw(st.sampled_from((0, 1, 1, 1, 2, 2, len(every))))
    chosen = draw(st.sets(st.sampled_from(sorted(every)), max_size=count)) if every and count else set()
    for key, (kind, *options) in every.items():
        options = options[0] if options else {}
        word = "COMBO" if isinstance(kind, list) else kind
        if key in chosen:
            value = graph.hostile(key, word)
            if value is not None:
                inputs[key] = value
        elif key in given:
            if given[key] is not None:
                inputs[key] = given[key]
        elif key in optional and graph.chance(2):
            continue
        elif word in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"):
            inputs[key] = draw(values.allowed(key, kind, options))
        elif not (key in optional and word not in (*_FACELETS, *TENSORS, "LIKENESS_IDENTITY", *WIRES)):
            inputs[key] = graph.source(word)
    node = graph.add(name, **inputs)
    for place, kind in enumerate(info[name]["output"]):
        graph.add("FuzzSink", value=[node, place])
        if kind == "MODEL" and graph.chance(2):
            _sample(graph, node, info[name]["output"])
    return name, graph.nodes


def _prepared(graph, name) -> dict:
    """Inputs of a node that have to belong together for it to do its work, None: left out."""
    if not graph.chance(5):
        if name == "EditIdentity":
            return {"identity": [graph.shared("LoadIdentity", identity_file="code.safetensors [input]"), 0]}
        if name == "CureMask":
            return _cured(graph)
        if name == "IDTextEncode" and graph.chance(2):
            graph.kit, graph.encoder = "tiny_sdxl", _PACK
            graph.adapter = "ipadapter/photomaker-v2.bin"
            return {"prompt": "photo of a woman img", "trigger": "img", "image": graph.source("IMAGE"),
                    "face_encoder": graph.source("LIKENESS_FACE_ENCODER"), "identity": None}  # fmt: skip
        if name in ("ApplyIDAdapter", "IDTextEncode", "Arc2FaceTextEncode"):
            if graph.chance(2) or "photomaker" in str(graph.adapter):
                return {"identity": None, "face_encoder": graph.source("LIKENESS_FACE_ENCODER"),
                        "image": [graph.shared("LoadImage", image="anna.png"), 0]}  # fmt: skip
            return {"image": None, "face_encoder": None, "identity": graph.source("LIKENESS_IDENTITY")}
        if name == "IDSimilarity":
            return {"reference": None, "identity": graph.source("LIKENESS_IDENTITY")}
    return {}


def _cured(graph) -> dict:
    """A cured model that a sampler has run with, and the picture that came out."""
    model, clip, vae = (graph.source(kind) for kind in ("MODEL", "CLIP", "VAE"))
    text = "portrait of a person, glasses, smiling"
    cure = graph.add("AttributeCure", model=model, clip=clip, prompt=text, attributes="", mode="noise_blend",
                     trajectory="shared", strength=1.0, abstract_pass=0.0, start_at=0.0, end_at=1.0)  # fmt: skip
    prompts = [[graph.shared("CLIPTextEncode", clip=clip, text=words), 0] for words in (text, "")]
    latent = [graph.add("EmptyLatentImage", width=64, height=64, batch_size=2 if graph.chance(3) else 1), 0]
    sampled = graph.add("KSampler", model=[cure, 0], positive=prompts[0], negative=prompts[1], latent_image=latent,
                        seed=1, steps=2, cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0)  # fmt: skip
    picture = graph.add("VAEDecode", samples=[sampled, 0], vae=vae)
    return {"model": [cure, 0], "image": [picture, 0]}


def _sample(graph, node, outputs):
    """One or two steps with the model that comes out, and with the prompts if these do too."""
    texts = [place for place, kind in enumerate(outputs) if kind == "CONDITIONING"]
    prompts = [[node, place] for place in texts] if len(texts) == 2 else [graph.source("CONDITIONING") for _ in "ab"]
    how = {"seed": 1, "steps": graph.draw(st.sampled_from((1, 2))), "cfg": graph.draw(st.sampled_from((1.0, 3.0))),
           "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}  # fmt: skip
    size = {"width": 128, "height": 128, "batch_size": graph.draw(st.sampled_from((1, 2)))}
    latent = [graph.add("EmptyLatentImage", **size), 0]
    sampled = graph.add("KSampler", model=[node, outputs.index("MODEL")], positive=prompts[0], negative=prompts[1],
                        latent_image=latent, **how)  # fmt: skip
    graph.add("FuzzSink", value=[sampled, 0])
