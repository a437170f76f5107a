"""Several ControlNets: IdentityNet reads identity tokens, any other the prompt, in whatever order they come."""

from functools import cache

import torch
from likeness.core.host.prompts import landmarks as landmarks_module
from likeness.core.host.sampling import strength

from ..bench import KIND
from ..cases import Outcome, case


@cache
def network():
    """A ControlNet for the small SD1.5, with random weights that have an effect."""
    import comfy.cldm.cldm
    import comfy.ops
    from tiny.likeness_tiny_models.configs import model_config
    from tiny.weights import fill

    config = {**model_config(KIND, torch.float32).unet_config, "hint_channels": 3, "dtype": torch.float32}
    del config["out_channels"]
    module = fill(comfy.cldm.cldm.ControlNet(**config, operations=comfy.ops.disable_weight_init), 3)
    for convolution in (*module.zero_convs, module.middle_block_out):
        convolution[0].weight.mul_(0.3)
    return module


@cache
def told():
    """A ControlNet that is told by hand what to read: identity tokens, or (None) the prompt."""
    import comfy.controlnet
    import comfy.model_management

    class Told(comfy.controlnet.ControlNet):
        def __init__(self, tokens):
            super().__init__(network(), load_device=comfy.model_management.get_torch_device())
            self.tokens = tokens  # of a conditional and of an unconditional row, or None

        def copy(self):
            made = Told(self.tokens)
            self.copy_to(made)
            return made

        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            before, self.previous_controlnet = self.previous_controlnet, None
            own = {key: value for key, value in cond.items() if key != "crossattn_controlnet"}
            if self.tokens is not None:
                rows = [self.tokens[number] for number in transformer_options["cond_or_uncond"]]
                own["crossattn_controlnet"] = torch.cat(rows)
            try:
                control = super().get_control(x_noisy, t, own, batched_number, transformer_options)
            finally:
                self.previous_controlnet = before
            if before is None:
                return control
            other = before.get_control(x_noisy, t, cond, batched_number, transformer_options)
            return {part: [_added(*pair) for pair in zip(control[part], other[part], strict=True)] for part in control}

    return Told


def _added(one, other):
    return other if one is None else one if other is None else one + other


@cache
def ordinary():
    """The same network as ComfyUI's own ControlNet."""
    import comfy.controlnet
    import comfy.model_management

    return comfy.controlnet.ControlNet(network(), load_device=comfy.model_management.get_torch_device())


def _picture(seed):
    return torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(seed))


CANNY, LANDMARKS = _picture(1), _picture(2)


def canny(bench, positive, negative, net=None):
    """ControlNetApplyAdvanced with an ordinary ControlNet."""
    node = bench.pack.nodes["ControlNetApplyAdvanced"]()
    return node.apply_controlnet(positive, negative, net or ordinary(), CANNY, 0.8, 0.0, 1.0)


def landmarks(bench, positive, negative, reads="auto", picture=LANDMARKS, net=None):
    """LandmarkControl's work with a drawn picture."""
    return landmarks_module.add_control_net(
        positive, negative, net or ordinary(), picture, strength.Strength(0.8), None, reads
    )


def _tokens(positive, negative):
    return [entries[0][1]["cross_attn_controlnet"] for entries in (positive, negative)]


def _by_hand(bench, put, *nets):
    """The picture of ControlNets with their control pictures, each told what to read: "identity" or "prompt"."""
    model, positive, negative = put()
    tokens = _tokens(positive, negative)
    node = bench.pack.nodes["ControlNetApplyAdvanced"]()
    prompts = positive, negative
    for picture, reads in nets:
        net = told()(tokens if reads == "identity" else None)
        prompts = node.apply_controlnet(*prompts, net, picture, 0.8, 0.0, 1.0)
    return bench.sample(model, *prompts)


@case("ControlNet behind ApplyIDAdapter, no LandmarkControl", "the ControlNet told to read the identity", ["identity"])
def behind(bench, put):
    """As IdentityNet is put on in the workflows of other packs."""
    model, *prompts = put()
    value = bench.sample(model, *canny(bench, *prompts))
    return Outcome(value, _by_hand(bench, put, (CANNY, "identity")), _by_hand(bench, put, (CANNY, "prompt")))


@case("ControlNet in front of ApplyIDAdapter", "the ControlNet told to read the prompt", ["identity"])
def in_front(bench, put):
    value = bench.sample(*put(prompts=canny(bench, *bench.prompts)))
    return Outcome(value, _by_hand(bench, put, (CANNY, "prompt")), _by_hand(bench, put, (CANNY, "identity")))


@case("LandmarkControl", "its ControlNet told to read the identity", ["identity"])
def landmark_control(bench, put):
    model, *prompts = put()
    value = bench.sample(model, *landmarks(bench, *prompts))
    return Outcome(value, _by_hand(bench, put, (LANDMARKS, "identity")), _by_hand(bench, put, (LANDMARKS, "prompt")))


CHAINS = {
    "ControlNet, then LandmarkControl": lambda bench, put: _chain(bench, put, canny, landmarks),
    "LandmarkControl, then ControlNet": lambda bench, put: _chain(bench, put, landmarks, canny),
    "LandmarkControl, then one that reads the prompt": lambda bench, put: _chain(bench, put, landmarks, _of_prompt),
    "LandmarkControl that reads the prompt, then one": lambda bench, put: _chain(bench, put, _of_prompt, landmarks),
}


def _of_prompt(bench, positive, negative):
    return landmarks(bench, positive, negative, "prompt", CANNY)


def _chain(bench, put, *nodes):
    model, *prompts = put()
    for node in nodes:
        prompts = node(bench, *prompts)
    return bench.sample(model, *prompts)


def _told_each(chain):
    def make(bench, put):
        reference = _by_hand(bench, put, (LANDMARKS, "identity"), (CANNY, "prompt"))
        return Outcome(chain(bench, put), reference, _by_hand(bench, put, (LANDMARKS, "prompt"), (CANNY, "prompt")))

    return make


for _name, _made in CHAINS.items():
    case(_name, "each told what to read", ["identity"])(_told_each(_made))


@case("ControlNet, ApplyIDAdapter, LandmarkControl", "each told what to read", ["identity"])
def around(bench, put):
    model, *prompts = put(prompts=canny(bench, *bench.prompts))
    value = bench.sample(model, *landmarks(bench, *prompts))
    reference = _by_hand(bench, put, (LANDMARKS, "identity"), (CANNY, "prompt"))
    return Outcome(value, reference, _by_hand(bench, put, (LANDMARKS, "identity"), (CANNY, "identity")))


@case("LandmarkControl, then ControlNet", "ControlNet, then LandmarkControl", ["cure", "both", "mixed_attention"])
def orders_with_twins(bench, put):
    def run(put, *nodes):
        return _chain(bench, put, *nodes)

    return Outcome(run(put, landmarks, canny), run(put, canny, landmarks), run(put.base, canny, landmarks))
