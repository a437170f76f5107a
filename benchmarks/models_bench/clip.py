"""CLIP's cosine of pictures and texts, from a file that holds both of its towers.

Published files with both: model.safetensors of openai/clip-vit-large-patch14 and of laion/CLIP-ViT-H-14-laion2B-s32B-
b79K, and OpenCLIP's own. The file of h94/IP-Adapter that many have under the latter's name holds the vision tower only.
"""

import json
from contextlib import closing
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from likeness.cli.durable import Lines, digest_of, read_lines
from likeness.cli.problems import Usage
from likeness.core.weights import WeightsError, read_weights
from PIL import Image

_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_TEXT, _VISION = "text_model.embeddings.token_embedding.weight", "vision_model.embeddings.patch_embedding.weight"
_QUICK = (768, 1024)  # widths of vision towers that OpenAI published, whose activation a file does not tell
_HEADS = {768: 12}  # of a vision tower by its width; the larger ones have 16. Text towers have one for 64 channels
_TOKENS = 77
_CONFIG = "config.json"  # which may lie beside a file
_TAKE = "take all of model.safetensors of openai/clip-vit-large-patch14 or laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
_AT_ONCE = 16
# OpenCLIP's names in transformers' words.
_WORDS = (
    ("ln_1.", "layer_norm1."), ("ln_2.", "layer_norm2."), ("attn.out_proj.", "self_attn.out_proj."),
    ("mlp.c_fc.", "mlp.fc1."), ("mlp.c_proj.", "mlp.fc2."),
)  # fmt: skip
_NAMES = {
    "token_embedding.weight": _TEXT,
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": _VISION,
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "logit_scale": "logit_scale",
}


def file_of(name: str, folder: Path) -> Path:
    """The file of a CLIP model: a path, or a name in `folder`; of a folder that Hugging Face's hub gave, its weights.

    Usage with a sentence where there is none, or where one of the towers is missing.
    """
    path = Path(name) if Path(name).exists() else folder / name
    if path.is_dir():
        path = next((path / one for one in _FILES if (path / one).is_file()), path / _FILES[0])
    if not path.is_file():
        raise Usage(f"There is no CLIP model {path}; give a file that is there, or its name in {folder}.")
    tensors = _tensors(path)
    if _VISION in tensors and _TEXT not in tensors:
        raise Usage(f"{path.name} holds only CLIP's vision tower, and prompts need the text tower too; {_TAKE}.")
    if _VISION not in tensors or _TEXT not in tensors:
        raise Usage(f"{path.name} is no CLIP model with both towers; {_TAKE}.")
    return path


class Towers:
    """Both towers of a file, in float32 on the GPU if there is one. `tokenizer`: the folder of CLIP's vocabulary."""

    def __init__(self, path: Path, tokenizer: Path):
        from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

        tensors = _tensors(path)
        config = _config(tensors, path)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with torch.device("meta"):
            model = CLIPModel(config)
        wanted = {name: tensors[name].float() for name in model.state_dict() if name in tensors}
        missing, _ = model.load_state_dict({"logit_scale": torch.zeros(()), **wanted}, strict=False, assign=True)
        if missing:
            raise Usage(f"{path.name} lacks {len(missing)} of CLIP's tensors, {missing[0]} among them; get it again.")
        for tower, size in ((model.text_model, _TOKENS), (model.vision_model, config.vision_config)):
            tokens = size if isinstance(size, int) else (size.image_size // size.patch_size) ** 2 + 1
            tower.embeddings.position_ids = torch.arange(tokens)[None]  # a buffer that no file holds
        self._model = model.eval().to(self._device)
        pixels = config.vision_config.image_size
        self._pictures = CLIPImageProcessor(
            size={"shortest_edge": pixels}, crop_size={"height": pixels, "width": pixels}
        )
        self._tokens = CLIPTokenizer.from_pretrained(str(tokenizer))

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors [T, D]; a text of more than 77 tokens is cut off."""
        tokens = self._tokens(texts, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
        # Padding comes behind the token that is read, and nothing there is seen by it: no mask is needed.
        read = self._model.text_model(tokens["input_ids"].to(self._device)).pooler_output
        return F.normalize(self._model.text_projection(read), dim=1).cpu()

    @torch.inference_mode()
    def pictures(self, files: list[Path]) -> torch.Tensor:
        """Unit vectors [P, D]: the shorter side becomes what the model sees, the middle of the longer is cut out."""
        images = [Image.open(file).convert("RGB") for file in files]
        pixels = self._pictures(images=images, return_tensors="pt")["pixel_values"]
        read = self._model.vision_model(pixels.to(self._device)).pooler_output
        return F.normalize(self._model.visual_projection(read), dim=1).cpu()


class Scorer:
    """Cosines of pictures to their prompts. `notes` keeps them by the contents of model and picture: what is in that
    file is not computed again, and the towers are read only if something is not, once."""

    def __init__(self, model: Path, tokenizer: Path, notes: Path):
        self._path, self._tokenizer, self._notes = model, tokenizer, notes
        told = model.with_name(_CONFIG)
        self._model = digest_of(model) + (digest_of(told) if told.is_file() else "")
        self._known = {(line["picture"], line["text"]): line["cosine"]
                       for line in read_lines(notes) if line.get("model") == self._model}  # fmt: skip
        self._vectors: dict[str, torch.Tensor] = {}

    @cached_property
    def _towers(self) -> Towers:
        return Towers(self._path, self._tokenizer)

    def score(self, pictures: list):
        """Set the cosines of all pictures that are there."""
        made = [(one, dict.fromkeys((one.text, *one.phrases))) for one in pictures if one.file is not None]
        left = [(one, texts) for one, texts in made if any((one.sha256, text) not in self._known for text in texts)]
        with closing(Lines(self._notes)) as lines:
            for at in range(0, len(left), _AT_ONCE):
                some = left[at : at + _AT_ONCE]
                vectors = self._towers.pictures([one.file for one, _ in some])
                for (one, texts), vector in zip(some, vectors, strict=True):
                    for text in texts:
                        cosine = self._known[one.sha256, text] = float(vector @ self._vector(text))
                        lines.append({"model": self._model, "picture": one.sha256, "text": text, "cosine": cosine})
        for one, texts in made:
            one.cosines = {text: self._known[one.sha256, text] for text in texts}

    def _vector(self, text):
        if text not in self._vectors:
            [self._vectors[text]] = self._towers.texts([text])
        return self._vectors[text]


def _tensors(path):
    """A file's tensors under transformers' names."""
    try:
        tensors = read_weights(path).tensors
    except WeightsError as error:
        raise Usage(str(error)) from error
    if "visual.conv1.weight" not in tensors:
        return tensors
    found = {_NAMES[name]: tensor for name, tensor in tensors.items() if name in _NAMES}
    for name, tensor in tensors.items():
        prefix, middle, rest = name.partition("transformer.resblocks.")
        if middle and prefix in ("", "visual."):
            number, _, rest = rest.partition(".")
            layer = f"{'vision' if prefix else 'text'}_model.encoder.layers.{number}."
            found |= _attention(layer, rest, tensor) if "in_proj" in rest else {layer + _in_words(rest): tensor}
    for old, new in (("visual.proj", "visual_projection.weight"), ("text_projection", "text_projection.weight")):
        if old in tensors:
            found[new] = tensors[old].T.contiguous()
    return found


def _attention(layer, rest, tensor):
    """q, k and v of a layer, which OpenCLIP keeps in one."""
    kind = rest.rpartition("_")[2]  # in_proj_weight or in_proj_bias
    parts = zip(("q", "k", "v"), tensor.chunk(3), strict=True)
    return {f"{layer}self_attn.{letter}_proj.{kind}": part.contiguous() for letter, part in parts}


def _in_words(rest):
    for old, new in _WORDS:
        rest = rest.replace(old, new)
    return rest


def _config(tensors, path):
    """The configuration, from shapes; the activation from config.json beside the file, else as ComfyUI has it."""
    from transformers import CLIPConfig

    words, sizes = tensors[_TEXT].shape, tensors[_VISION].shape
    patches = len(tensors["vision_model.embeddings.position_embedding.weight"]) - 1
    told = path.with_name(_CONFIG)
    told = json.loads(told.read_bytes()) if told.is_file() else {}
    usual = "quick_gelu" if sizes[0] in _QUICK else "gelu"
    text = {"vocab_size": words[0], "hidden_size": words[1], "num_attention_heads": words[1] // 64,
            "eos_token_id": words[0] - 1, "bos_token_id": words[0] - 2}  # fmt: skip
    vision = {"hidden_size": sizes[0], "num_attention_heads": _HEADS.get(sizes[0], 16), "patch_size": sizes[-1],
              "image_size": int(patches**0.5) * sizes[-1]}  # fmt: skip
    for tower, own in (("text", text), ("vision", vision)):
        layer = f"{tower}_model.encoder.layers."
        own["num_hidden_layers"] = 1 + max(int(name[len(layer):].split(".")[0]) for name in tensors
                                           if name.startswith(layer))  # fmt: skip
        own["intermediate_size"] = len(tensors[f"{layer}0.mlp.fc1.weight"])
        own["hidden_act"] = told.get(f"{tower}_config", {}).get("hidden_act", usual)
        own["projection_dim"] = len(tensors["visual_projection.weight"])
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=vision["projection_dim"])
