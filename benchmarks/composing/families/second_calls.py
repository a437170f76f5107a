"""A second call of the model within a step, as guidance nodes make it."""

import comfy.samplers

from ..bench import EVERY
from ..cases import Outcome, case
from ..sampling import one_by_one

_PACK = "sd-perturbed-attention"


def thrown_away(which):
    """The barest form of such a node: call the model again, and leave the result."""

    def node(bench, model):
        def post(given):
            lists = [given[name] for name in which]
            comfy.samplers.calc_cond_batch(
                given["model"], lists, given["input"], given["sigma"], given["model_options"]
            )
            return given["denoised"]

        patched = model.clone()
        patched.set_model_sampler_post_cfg_function(post)
        return patched

    return node


def by_node(name, **inputs):
    def node(bench, model):
        return bench.node(name, model=model, **inputs)

    return node


def _nothing(node, steps=3):
    def make(bench, put):
        model, *prompts = put()
        value = bench.sample(node(bench, model), *prompts, steps=steps)
        return Outcome(value, bench.alone(put, steps), bench.alone(put.base, steps))

    return make


def _both_orders(node):
    def make(bench, put):
        def run(put, before):
            model, *prompts = put(before=(lambda model: node(bench, model)) if before else None)
            return bench.sample(model if before else node(bench, model), *prompts, steps=2)

        return Outcome(run(put, False), run(put, True), run(put.base, True))

    return make


for _lists in (["cond"], ["uncond"]):
    case(f"a second call with {' and '.join(_lists)}, thrown away", "without the call", EVERY)(
        _nothing(thrown_away(_lists))
    )
case("Perturbed-Attention Guidance at 0", "without the node", EVERY)(
    _nothing(by_node("PerturbedAttentionGuidance", scale=0.0), steps=2)
)
case("Self-Attention Guidance at 0", "without the node", [one for one in EVERY if one not in
     ("shared_attention", "both", "mixed_attention")])(
    _nothing(by_node("SelfAttentionGuidance", scale=0.0, blur_sigma=2.0))
)  # fmt: skip
case("Perturbed-Attention Guidance at 3, behind", "in front", EVERY)(
    _both_orders(by_node("PerturbedAttentionGuidance", scale=3.0))
)
case("Self-Attention Guidance at 0.5, behind", "in front", ["identity", "cure", "cure, separate"])(
    _both_orders(by_node("SelfAttentionGuidance", scale=0.5, blur_sigma=2.0))
)


@case("all rows of a step in one batch", "each in a forward of its own", EVERY)
def one_batch(bench, put):
    model, *prompts = put()
    return Outcome(bench.alone(put), bench.sample(one_by_one(model), *prompts), bench.alone(put.base))


_TINY = {"sigma_start": -1.0, "sigma_end": -1.0}
OTHERS = {
    "Perturbed-Attention Guidance (Advanced)": by_node("PerturbedAttention", scale=0.0, **_TINY),
    "Smoothed Energy Guidance (Advanced)": by_node("SmoothedEnergyGuidanceAdvanced", scale=0.0, **_TINY),
    "Sliding Window Guidance (Advanced)": by_node(
        "SlidingWindowGuidanceAdvanced", scale=0.0, tile_width=64, tile_height=64, tile_overlap=32, **_TINY
    ),
    "Token Perturbation Guidance": by_node("TokenPerturbationGuidance", scale=0.0, **_TINY),
}
for _name, _node in OTHERS.items():
    case(f"{_name} at 0", "without the node", ["identity", "cure", "both"], pack=_PACK)(_nothing(_node, steps=2))

REAL = {
    "Perturbed-Attention Guidance (Advanced) at 3": by_node("PerturbedAttention", scale=3.0, **_TINY),
    "Smoothed Energy Guidance (Advanced) at 3": by_node("SmoothedEnergyGuidanceAdvanced", scale=3.0, **_TINY),
}
for _name, _node in REAL.items():
    case(f"{_name}, behind", "in front", EVERY, pack=_PACK)(_both_orders(_node))
_SLIDING = {"tile_width": 64, "tile_height": 64, "tile_overlap": 32, **_TINY}
case("Sliding Window Guidance (Advanced) at 1, behind", "in front", ["identity", "cure", "mixed_attention"],
     pack=_PACK)(_both_orders(by_node("SlidingWindowGuidanceAdvanced", scale=1.0, **_SLIDING)))  # fmt: skip


@case("ApplyIDAdapter after a run with Token Perturbation Guidance", "before that run", ["identity"], pack=_PACK)
def after_another_run(bench, put):
    """ComfyUI leaves what a run put into the model there until the next: that is when nodes look at it."""
    before = bench.alone(put)
    guided = OTHERS["Token Perturbation Guidance"](bench, bench.plain)
    bench.sample(guided, *bench.prompts, steps=1)
    return Outcome(bench.sample(*put()), before, bench.alone(put.base))


def _nag(scale):
    def node(bench, model):
        return bench.node("NormalizedAttentionGuidance", model, bench.prompts[1], scale)

    return node


case("Normalized Attention Guidance at 0", "without the node", ["identity", "cure", "both"], pack=_PACK)(
    _nothing(_nag(0.0), steps=2)
)


@case("Normalized Attention Guidance at 2, all rows in one batch", "each in a forward of its own",
      ["identity", "cure", "both", "mixed_attention"], pack=_PACK)  # fmt: skip
def nag_in_one_batch(bench, put):
    def run(put, apart):
        model, *prompts = put()
        model = _nag(2.0)(bench, model)
        return bench.sample(one_by_one(model) if apart else model, *prompts)

    return Outcome(run(put, False), run(put, True), run(put.base, True))
