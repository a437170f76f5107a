"""InfiniteYou's person on the way to InfuseNet: who reads what where, and that nothing else changes."""

import flux_cases
import flux_cure_cases
import pytest
import torch
from flux_cases import apply, conditioning, drawn, face, infinite_you, sample
from likeness.core.faces.identity.identity import combine_identity
from likeness.core.host.adapters.adapter import apply_adapter
from likeness.core.host.cure.apply import apply_cure
from likeness.core.host.prompts import landmarks
from likeness.core.host.sampling.strength import Strength
from likeness.core.host.who.person import Sources
from tiny import flux as tiny
from tiny import infiniteyou

SIZE = (8, 12)  # of the latents, small: what is added is compared with itself
FULL = Strength(1.0)


@pytest.fixture(scope="module")
def case(comfyui):
    return Case()


class Case:
    def __init__(self):
        self.model, self.net, self.vae = tiny.flux(), infiniteyou.loaded(infiniteyou.infusenet()), flux_cases.vae()
        self.adapter, self.prompts = infinite_you(), (conditioning(1), conditioning(2))
        self.picture = drawn(size=SIZE)

    def people(self, *people, graph=None, **strength):
        """ApplyIDAdapter for each (seed, mask): (model, positive, negative)."""
        model, *conds = graph or (self.model, *self.prompts)
        for seed, mask in people:
            model, *conds = apply(model, self.adapter, face(seed), mask, conds, **strength)
        return model, *conds

    def control(self, graph, net=None, strength=FULL, picture=None):
        """LandmarkControl: (model, positive, negative)."""
        picture = self.picture if picture is None else picture
        return graph[0], *landmarks.add_control_net(*graph[1:], net or self.net, picture, strength, self.vae)

    def draw(self, *people, **strength):
        return sample(*self.control(self.people(*people, **strength)), size=SIZE)


class Heard:
    """A ControlNet of ComfyUI's form that says nothing and notes what it is given."""

    def __init__(self):
        self.calls = []

    def net(self):
        from comfy.controlnet import ControlBase
        from comfy.latent_formats import Flux

        heard = self.calls

        class Hearing(ControlBase):
            def __init__(self):
                super().__init__()
                self.latent_format = Flux()

            def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
                text = cond.get("crossattn_controlnet", cond["c_crossattn"])
                heard.append((x_noisy, text.shape[1], cond["guidance"].tolist(), self.strength))
                before = self.previous_controlnet
                return before and before.get_control(x_noisy, t, cond, batched_number, transformer_options)

            def copy(self):
                net = Hearing()
                self.copy_to(net)
                return net

        return Hearing()

    @property
    def read(self):
        """(tokens of the text, guidance) of each call."""
        return [(tokens, guidance) for _, tokens, guidance, _ in self.calls]


def halves(width=SIZE[1]):
    left = torch.zeros(1, 8 * SIZE[0], 8 * width)
    left[..., : 4 * width] = 1
    return left, 1 - left


def identity():
    return Sources(combine_identity("arcface-ir-se50", face()[0].vectors, torch.ones(1), "mean")[0])


def test_nobody_is_drawn_where_nobody_is_put_on(case, caplog):
    """Weight 0, no range, a black mask: the plain picture, also with a LandmarkControl behind."""
    plain = sample(*case.people(), size=SIZE)
    graphs = [case.people((0, torch.zeros(1, 8, 8)))]
    for nothing in (Strength(0.0), Strength(1.0, 0.5, 0.5)):
        graphs.append(apply_adapter(*case.people(), case.adapter, identity(), nothing)[:3])
    for graph in graphs:
        assert graph[0] is case.model and torch.equal(sample(*case.control(graph), size=SIZE), plain)
    both = case.people((0, None), graph=graphs[0])
    assert torch.equal(sample(*case.control(both), size=SIZE), case.draw((0, None)))
    assert not caplog.text


def test_a_weight_type_has_nothing_to_go_by(case):
    with pytest.raises(ValueError, match="no part in the model's blocks that the weight_type 'ease in' could go by"):
        apply_adapter(*case.people(), case.adapter, identity(), Strength(1.0, weight_type="ease in"))


def test_infusenet_for_nobody_is_said(case, caplog):
    """Prompts that never had a person: nothing in InfuseNet's file but its build tells it from others for FLUX."""
    case.control(case.people())
    assert "is built like InfiniteYou's InfuseNet, but positive carries no person for it" in caplog.text


def test_a_negative_prompt_made_of_the_positive_one_has_nobody(case):
    """ConditioningZeroOut keeps all but the text."""
    from nodes import ConditioningZeroOut

    model, positive, negative = case.control(case.people((0, None)))
    zeroed = ConditioningZeroOut().zero_out(positive)[0]
    proper = ConditioningZeroOut().zero_out(case.prompts[0])[0]
    expected = sample(model, positive, proper, size=SIZE, cfg=2.0)
    torch.testing.assert_close(sample(model, positive, zeroed, size=SIZE, cfg=2.0), expected, atol=2e-5, rtol=2e-5)


def test_a_second_landmark_control_says_that_it_does_nothing(case, caplog):
    once = case.control(case.people((0, None)))
    assert all(one is other for one, other in zip(case.control(once), once, strict=True))
    assert "a LandmarkControl does nothing, because an InfuseNet draws everybody already" in caplog.text


def test_ranges_without_a_part_in_common_draw_nobody(case):
    graph = case.people((0, None), start_at=0.0, end_at=0.3)
    for strength in (Strength(0.0), Strength(1.0, 0.3, 1.0)):
        assert all(one is other for one, other in zip(case.control(graph, strength=strength), graph, strict=True))


def test_upstream_stays_and_the_negative_prompt_gets_nothing(case):
    before = case.people((0, None))
    model, positive, negative = case.control(before)
    assert negative is before[2] and "control" not in before[1][0][1]
    assert "control" in positive[0][1] and model is before[0]


def test_an_all_white_mask_is_none_and_the_order_of_people_is_free(case):
    plain = case.draw((0, None))
    assert torch.equal(plain, case.draw((0, torch.ones(1, 8, 8))))
    left, right = halves()
    both = case.draw((0, left), (1, right))
    assert torch.equal(both, case.draw((1, right), (0, left)))
    assert (both - case.draw((0, left))).abs().max() > 1e-3 and (both - plain).abs().max() > 1e-3


def test_infusenet_reads_the_person_at_its_own_guidance_and_others_the_prompt(case):
    """In front of other ControlNets and behind; those stay on the negative prompt, where InfuseNet is not."""
    import nodes

    infuse, ordinary = Heard(), Heard()

    def other(graph):
        node = nodes.ControlNetApplyAdvanced()
        return graph[0], *node.apply_controlnet(*graph[1:], ordinary.net(), case.picture, 0.7, 0.0, 1.0, case.vae)

    graph = other(case.control(other(case.people((0, None), (1, None), weight=0.5)), infuse.net(), Strength(0.8)))
    sample(*graph, steps=1, cfg=2.0, size=SIZE)
    assert infuse.read == [(8, [1.0])] * 2 and {strength for *_, strength in infuse.calls} == {0.4}
    assert ordinary.read == [(7, [3.5])] * 4  # twice for each prompt
    assert all(torch.equal(x, infuse.calls[0][0]) for x, *_ in ordinary.calls)


def test_what_others_say_adds_up_with_it(case):
    import nodes

    ordinary, node = infiniteyou.loaded(infiniteyou.infusenet(3)), nodes.ControlNetApplyAdvanced()

    def other(graph):
        return graph[0], *node.apply_controlnet(*graph[1:], ordinary, case.picture, 0.7, 0.0, 1.0, case.vae)

    person = case.people((0, halves()[0]))
    before, behind = case.control(other(person)), other(case.control(person))
    pictures = [sample(*graph, steps=1, cfg=2.0, size=SIZE) for graph in (before, behind, other(person))]
    assert (pictures[0] - pictures[1]).abs().max() < 1e-4 * pictures[0].abs().max()
    assert (pictures[0] - pictures[2]).abs().max() > 1e-3


@pytest.mark.parametrize("how", ["area", "old node"])
def test_rows_that_comfyui_copies_the_control_net_to_have_no_person(case, how):
    """For an area of the prompt ComfyUI makes a negative one with the positive one's ControlNets; the older Apply
    ControlNet asks for it."""
    infuse = Heard()
    model, positive, negative = case.control(case.people((0, None)), infuse.net())
    extras = {"area": (SIZE[0], 4, 0, 0), "strength": 1.0} if how == "area" else {"control_apply_to_uncond": True}
    positive = [[text, {**options, **extras}] for text, options in positive]
    sample(model, positive, negative, steps=1, cfg=2.0, size=SIZE)
    assert infuse.read == [(8, [1.0])]


def test_a_mask_lies_where_it_does_in_the_whole_picture(case):
    """The prompt is about the lower right part, two pictures have masks of their own, and a side is odd."""
    infuse, (left, right) = Heard(), halves()
    top = torch.zeros_like(left)
    top[:, :32] = 1
    model, positive, negative = case.control(case.people((0, torch.cat([top, right]))), infuse.net())
    height, width, x, y = 5, 8, 3, 4
    positive = [[text, {**options, "area": (height, width, x, y), "strength": 1.0}] for text, options in positive]
    sample(model, positive, negative, steps=1, size=SIZE, batch=2)
    [(first, second)] = [call[0].abs().sum(1) > 0 for call in infuse.calls]
    # a token is two cells, the first ones from row 3 on: row 4 is in no mask, but its token is half in one
    assert first[:2].all() and not first[2:].any()
    assert second[:, 2:].all() and not second[:, :2].any()


def test_a_pose_is_black_where_there_is_none(case):
    person, none = case.people((0, None)), torch.zeros(0, *case.picture.shape[1:])
    black = sample(*case.control(person, picture=torch.zeros_like(case.picture)), steps=1, size=SIZE)
    assert torch.equal(sample(*case.control(person, picture=none), steps=1, size=SIZE), black)
    plain = case.people()
    assert case.control(plain, picture=none)[1] is plain[1]  # nobody to draw: as ever


def test_each_person_is_drawn_by_the_first_landmark_control_behind_them(case):
    first, second = Heard(), Heard()
    graph = case.control(case.people((0, None)), first.net())
    graph = case.control(case.people((1, None), graph=graph), second.net())
    sample(*graph, steps=1, size=SIZE)
    assert len(first.calls) == len(second.calls) == 1


def test_a_chain_that_a_pack_copies_link_by_link_is_the_same(case):
    model, positive, negative = case.control(case.people((0, halves()[0]), (1, None)))

    def copy_of(net):
        return net and net.copy().set_previous_controlnet(copy_of(net.previous_controlnet))

    copied = [[text, {**options, "control": copy_of(options["control"])}] for text, options in positive]
    assert copied[0][1]["control"] is not positive[0][1]["control"]
    one, other = (sample(model, entries, negative, steps=1, size=SIZE) for entries in (positive, copied))
    assert torch.equal(one, other)
    links = positive[0][1]["control"]
    assert links.get_models() == [case.net.control_model_wrapped] * 2
    clone = links.deepclone_multigpu(torch.device("cpu"))
    assert type(clone) is type(links) and clone.what is links.what


class Words:
    """A text encoder that gives each text its own tokens."""

    def tokenize(self, text, **_):
        return text

    def encode_from_tokens(self, text, return_dict):
        [[context, extras]] = conditioning(sum(map(ord, text)))
        return {"cond": context, **extras}


def test_the_cures_twins_go_without_and_keep_the_others(case, caplog):
    import nodes

    infuse, ordinary = Heard(), Heard()
    graph = nodes.ControlNetApplyAdvanced().apply_controlnet(
        *case.prompts, ordinary.net(), case.picture, 0.7, 0.0, 1.0, case.vae
    )
    model, positive, negative = case.control(case.people((0, None), graph=(case.model, *graph)), infuse.net())
    cured = apply_cure(model, Words(), "a woman with red hair")
    sample(cured, positive, negative, steps=2, cfg=2.0, size=SIZE)
    assert infuse.read == [(8, [1.0])] * 2
    assert len(ordinary.calls) > 4  # twins beside both prompts in both steps
    assert not caplog.text


def test_the_cures_twins_give_keys_though_they_run_in_another_batch(case):
    """Twins go past InfuseNet, so that ComfyUI can't run them together with what it draws."""
    graph = case.control(case.people((0, None)))
    mask = torch.ones(1, *SIZE).tril()
    cured = apply_cure(graph[0], Words(), "a tree", mask=mask, mode="shared_attention")
    model, seen = flux_cure_cases.recorded(cured, ("single_block", 30))
    sample(model, *graph[1:], steps=1, size=SIZE)
    assert [blocks for *_, blocks in seen] == [([], [0]), ([0], [])]
    q, k, v, out, _ = seen[1]
    plain = flux_cure_cases.softmax_attention(q[0], k[0], v[0])
    text = k.shape[2] - SIZE[0] * SIZE[1] // 4
    torch.testing.assert_close(out[0, :text].double(), plain[:text], atol=1e-5, rtol=0)
    assert (out[0, text:] - plain[text:]).abs().max() > 1e-3


def test_who_is_drawn_by_nobody_is_said(case, caplog):
    model, positive, negative = case.people((0, None), (1, None))
    sample(model, positive, negative, steps=1, size=SIZE)
    assert "2 of 2 people are not drawn, because no InfuseNet reads them" in caplog.text
    caplog.clear()
    sample(model, *case.prompts, steps=1, size=SIZE)  # the prompts from before ApplyIDAdapter
    assert "2 of 2 people are not drawn" in caplog.text
    caplog.clear()
    sample(*case.control((model, positive, negative), Heard().net()), steps=1, size=SIZE)
    assert not caplog.text


def test_what_can_not_be_drawn_with_is_refused(case):
    person = case.people((0, None))
    with pytest.raises(ValueError, match="connect the model's VAE to LandmarkControl"):
        landmarks.add_control_net(*person[1:], case.net, case.picture, FULL)
    net = Heard().net()
    net.latent_format = None
    with pytest.raises(ValueError, match="control_net is no InfuseNet; load infusenet_aes_bf16"):
        case.control(person, net)
