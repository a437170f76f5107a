"""Every choice that shapes the cure and is not an input of the node; the defaults are what the node uses."""

from dataclasses import dataclass

MODES = ("noise_blend", "shared_attention", "both")
TRAJECTORIES = ("shared", "separate")
_WORDS = {
    "identity_off": ("zero", "absent"),
    "source": ("difference", "cross", "semantic", "both", "mask"),
    "compare": ("all", "each"),
    "response": ("prompt", "attributes"),
    "map_rows": ("foundation", "both"),
    "tokens": ("head", "phrase"),
    "blend": ("response", "eps", "denoised"),
}


@dataclass(frozen=True)
class CureSettings:
    """Shares of a run's own steps count from 0 (the first) to 1; scales are cells of the latent per token.

    Sources: FreeCure (Cai et al. 2024, arXiv 2411.15277) for Otsu's threshold, the biases and layers; it finds
    attributes by "cross", sharpened by 10. Which choices did better is told in benchmarks/README.md.
    """

    # Identity off: "zero" gives those rows the identity of no face, as for the unconditional half, so that this half is
    # the same tensor with and without identity; "absent" leaves the adapter out, and computes that half as well.
    identity_off: str = "absent"

    # Where attributes are: where the foundation's prediction changes when they are left out of the prompt
    # ("difference", as in DiffEdit), "cross" attention maps, "semantic" clusters that those maps cover, "both" (where
    # the latter two agree), or the "mask" input alone.
    source: str = "difference"
    # What the prompt is compared with: itself without "all" of the attributes, one more row of the batch, or without
    # "each" of them, a row and a mask for every attribute.
    compare: str = "all"
    blur: float = 0.05  # of the maps of differences, standard deviation as a share of the picture's side
    # "foundation": where it draws an attribute; "both": also where the personalised rows do, so that long hair can
    # become short.
    map_rows: str = "foundation"
    tokens: str = "head"  # a phrase is located by its noun ("head") or by all of its words ("phrase")
    absent: bool = False  # whether "no glasses" counts as an attribute when attributes are looked for
    map_scales: tuple[int, ...] | None = None  # None: the layers of 16 and 32 tokens a side at the model's own size
    map_blocks: tuple[str, ...] = ("input", "output")
    map_start: float = 0.0
    map_end: float = 0.4
    map_stride: int = 2  # maps of differences are taken at every so many predictions
    map_decay: float = 1.0  # weight of the past at each step: 1 is the plain mean, 0 the present step alone
    relative: bool = True  # divide by the attention that all words of the prompt get there
    sharpen: float = 0.0  # gain of the exponential; 0 leaves the maps as they are
    threshold: float | None = 0.2  # of a map in 0..1; None: Otsu's
    softness: float = 0.4  # width of the ramp around the threshold, in 0..1
    parse_at: float = 0.3  # from when on a face parser can read the expected picture
    feather: float = 0.0  # blur of the mask, standard deviation in cells of the latent
    clusters: int = 8
    coverage: float = 0.5  # share of a cluster that the cross-attention mask must cover

    # Blending: with "response" the foundation's response to the prompt is added to the personalised prediction, inside
    # the mask. With "eps" and "denoised", FreeCure's way, its prediction takes the personalised one's place there: the
    # noise of its own latent, or its expected picture; the two differ only where it has a latent of its own.
    blend: str = "response"
    # The response to the "prompt" is what parts it from the unconditional prediction, so that guidance goes by two
    # conditions (Liu et al. 2022, arXiv 2206.01714); that to the "attributes" is what parts it from a prompt that lacks
    # them, as in semantic guidance (Brack et al. 2023, arXiv 2301.12247), at the price of one more row in every step.
    response: str = "prompt"
    gain: float = 0.8  # how much of the response, at full strength and in units of the guidance
    refresh: int = 1  # for how many predictions a response serves

    # Extra keys: bias on the foundation's logits inside the mask, None for the published 1.5 (SDXL) or 0.5; the share
    # of the transformers, from the last backwards, that see them, None for the published layers.
    bias: float | None = None
    extra_key_layers: float | None = None

    # Abstract pass: fixed-point refinements per inversion step (0: plain DDIM inversion), and how many of the
    # sampler's steps one step of the pass spans.
    refine: int = 1
    stride: int = 1

    def responds(self, mode: str) -> bool:
        """Whether in this mode the foundation's response is added, rather than its prediction put in place."""
        return mode != "shared_attention" and self.blend == "response"

    def __post_init__(self):
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but must be one of: {', '.join(words)}.")
