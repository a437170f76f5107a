"""What each ControlNet is given beside its picture: the identity, or the prompt."""

import pytest
import torch
from host_cases import adapter, apply, conditioning, identity, sample
from likeness.core.host.adapters.adapter import Settings
from likeness.core.host.prompts import landmarks as landmarks_module


@pytest.fixture(scope="module")
def graph(comfyui):
    """SDXL with an identity, its ControlNet, and a control image."""
    import comfy.controlnet
    from tiny.files import controlnet
    from tiny.unet import unet

    weights = {key: value.float() for key, value in controlnet().items()}
    net = comfy.controlnet.load_controlnet_state_dict(weights)
    prompts = conditioning(seed=1), conditioning(seed=2)
    model = unet("sdxl")
    loaded = adapter()
    applied = apply(model, *prompts, loaded, identity())
    return model, prompts, applied, net, torch.rand(1, 128, 128, 3), loaded


def controlled(graph, conds, reads):
    return landmarks_module.add_control_net(*conds, graph[3], graph[4], landmarks_module.Strength(0.8), reads=reads)


def test_identity_and_prompt_differ_and_auto_takes_what_is_there(graph):
    _, plain, (model, *conds), *_ = graph
    pictures = {reads: sample(model, *controlled(graph, conds, reads), steps=1) for reads in
                ("auto", "identity", "prompt")}  # fmt: skip
    assert torch.equal(pictures["auto"], pictures["identity"])
    assert (pictures["auto"] - pictures["prompt"]).abs().max() > 1e-3
    as_ordinary = sample(model, *controlled(graph, plain, "auto"), steps=1)
    assert torch.equal(pictures["prompt"], as_ordinary)
    assert all("cross_attn_controlnet" in options for _, options in conds[0])  # upstream keeps its own


def test_a_person_in_one_of_two_prompts_is_said(graph, caplog):
    _, plain, (_, *conds), *_ = graph
    controlled(graph, (conds[0], plain[1]), "auto")
    assert "only the positive prompt of LandmarkControl comes from ApplyIDAdapter" in caplog.text
    caplog.clear()
    controlled(graph, conds, "auto")
    controlled(graph, plain, "auto")
    assert not caplog.text


def reader(name, read):
    """A ControlNet that adds nothing and notes what it reads in `read`, as ComfyUI's own ones read it."""
    from comfy.controlnet import ControlBase

    class Reader(ControlBase):
        def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
            read[name] = cond.get("crossattn_controlnet", cond["c_crossattn"])
            before = self.previous_controlnet
            return before and before.get_control(x_noisy, t, cond, batched_number, transformer_options)

        def copy(self):
            net = Reader()
            self.copy_to(net)
            return net

    return Reader()


class Chain:
    """Puts people and ControlNets, which note in `read` what they read, on `conds` in any order."""

    def __init__(self, nodes, model, conds, picture, loaded):
        self.nodes, self.model, self.conds = nodes, model, conds
        self.picture, self.loaded, self.read = picture, loaded, {}

    def ordinary(self, name="ordinary"):
        """ComfyUI's own Apply ControlNet."""
        net, node = reader(name, self.read), self.nodes.ControlNetApplyAdvanced()
        self.conds = node.apply_controlnet(*self.conds, net, self.picture, 0.7, 0.0, 1.0)
        return self

    def landmarks(self, reads="auto", name="landmarks"):
        net, strength = reader(name, self.read), landmarks_module.Strength(0.8)
        self.conds = landmarks_module.add_control_net(*self.conds, net, self.picture, strength, reads=reads)
        return self

    def person(self, **options):
        options = Settings(**options)
        made = apply(self.model, *self.conds, self.loaded, identity(), options=options)
        self.model, *self.conds = made
        return self

    def tokens(self):
        """How many tokens each ControlNet reads; a prompt has 77, a person 16."""
        sample(self.model, *self.conds, steps=1, shape=(1, 4, 8, 8))
        return {name: text.shape[1] for name, text in self.read.items()}


@pytest.fixture
def chain(comfyui, graph):
    import nodes

    model, prompts, _, _, picture, loaded = graph
    return Chain(nodes, model, prompts, picture, loaded)


IDENTITY, PROMPT = {"landmarks": 16}, {"ordinary": 77}


@pytest.mark.parametrize(
    "order, expected",
    [
        ("person landmarks ordinary", IDENTITY | PROMPT),
        ("person ordinary landmarks", IDENTITY | PROMPT),
        ("ordinary landmarks person", IDENTITY | PROMPT),
        ("person landmarks person ordinary", {"landmarks": 32} | PROMPT),
        ("ordinary person", PROMPT),
        ("person ordinary", {"ordinary": 16}),  # an IdentityNet put on with another node
        ("person ordinary person", {"ordinary": 32}),
        ("person landmarks", IDENTITY),
        ("landmarks", {"landmarks": 77}),
    ],
)
def test_the_landmark_net_reads_the_identity_and_the_others_the_prompt(chain, order, expected):
    for step in order.split():
        getattr(chain, step)()
    assert chain.tokens() == expected


def test_a_landmark_net_that_reads_the_prompt_leaves_the_others_theirs(chain):
    chain.person().landmarks(name="posed").landmarks("prompt", "ordinary").ordinary("last")
    assert chain.tokens() == {"posed": 16, "ordinary": 77, "last": 77}


def test_another_packs_tokens_stay_for_its_net(chain):
    foreign = torch.ones(1, 4, 64)
    chain.conds = [[[text, {**options, "cross_attn_controlnet": foreign}] for text, options in entries]
                   for entries in chain.conds]  # fmt: skip
    chain.ordinary("theirs").landmarks()
    assert chain.tokens() == {"theirs": 4, "landmarks": 4}
    chain.person().ordinary("behind").landmarks(name="ours")
    assert chain.tokens() == {"theirs": 4, "landmarks": 20, "behind": 4, "ours": 20}


def test_rows_without_identity_read_nobody_and_the_same_prompt(chain):
    """Mixed attention adds a row that only the prompt knows; at CFG 1 there is no unconditional one."""
    prompt = chain.conds[0][0][0]
    chain.person(mixed_attention=True).landmarks().ordinary()
    nobody = chain.conds[1][0][1]["likeness_identity"]
    sample(chain.model, *chain.conds, steps=1, cfg=1.0, shape=(1, 4, 8, 8))
    conditional, foundation = sorted(chain.read["landmarks"], key=lambda row: torch.equal(row, nobody[0]))
    assert torch.equal(foundation, nobody[0]) and (conditional - nobody).abs().max() > 1e-3
    assert torch.equal(chain.read["ordinary"], prompt.repeat(2, 1, 1))


def test_a_chain_that_a_pack_copies_link_by_link_reads_the_same(chain):
    """Packs that upscale in tiles copy every link and cut its picture."""
    chain.person().ordinary().landmarks()
    copied = {}

    def copy_of(net):
        if net is not None and net not in copied:
            copied[net] = net.copy().set_previous_controlnet(copy_of(net.previous_controlnet))
            copied[net].cond_hint_original = net.cond_hint_original[..., :64, :64]
        return copied.get(net)

    chain.conds = [[[text, {**options, "control": copy_of(options["control"])}] for text, options in entries]
                   for entries in chain.conds]  # fmt: skip
    assert chain.tokens() == IDENTITY | PROMPT


def test_without_an_identity_there_is_none_to_read(graph):
    with pytest.raises(ValueError, match="these prompts carry none; connect positive and negative from ApplyIDAdapter"):
        controlled(graph, graph[1], "identity")
