"""Ranges of steps are worked out when sampling starts: nodes that change the noise levels may stand behind."""

from ..cases import Outcome, case

MODEL_SAMPLINGS = {
    "ModelSamplingDiscrete v_prediction, zsnr": lambda bench, model: bench.node(
        "ModelSamplingDiscrete", model, "v_prediction", True
    ),
    "ModelSamplingDiscrete lcm": lambda bench, model: bench.node("ModelSamplingDiscrete", model, "lcm", False),
    "ModelSamplingContinuousEDM 120": lambda bench, model: bench.node(
        "ModelSamplingContinuousEDM", model, "v_prediction", 120.0, 0.002
    ),
}


def _behind(node):
    def make(bench, put):
        def run(put, behind):
            model, *prompts = put(before=None if behind else lambda model: node(bench, model))
            return bench.sample(node(bench, model) if behind else model, *prompts, steps=6, scheduler="normal")

        return Outcome(run(put, True), run(put, False), run(put.base, False))

    return make


for _name, _node in MODEL_SAMPLINGS.items():
    case(f"{_name} behind", "in front", ["identity, first half", "identity, second half", "cure, first half",
                                         "mixed_attention, first half"])(_behind(_node))  # fmt: skip
