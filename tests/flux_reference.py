"""FLUX by diffusers, with the weights of a tiny ComfyUI FLUX: an independent reference for whole predictions."""

from contextlib import contextmanager

import comfy.samplers
import comfy.utils
import torch
from diffusers import FluxTransformer2DModel
from host_cases import randn

ONE_STEP, WHOLE = 2e-6, 1e-4  # how far a prediction may be off, and a picture after eight steps


def reference(model) -> FluxTransformer2DModel:
    """diffusers' transformer with the weights of ComfyUI's BaseModel, by ComfyUI's own table of names."""
    own, params = model.diffusion_model.state_dict(), model.diffusion_model.params
    made = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * params.in_channels,
        num_layers=params.depth,
        num_single_layers=params.depth_single_blocks,
        attention_head_dim=params.hidden_size // params.num_heads,
        num_attention_heads=params.num_heads,
        joint_attention_dim=params.context_in_dim,
        pooled_projection_dim=params.vec_in_dim,
        guidance_embeds=params.guidance_embed,
        axes_dims_rope=tuple(params.axes_dim),
    ).eval()
    names, state = made.state_dict().keys(), {}
    table = comfy.utils.flux_to_diffusers(
        {"depth": params.depth, "depth_single_blocks": params.depth_single_blocks, "hidden_size": params.hidden_size}
    )
    for name, target in table.items():
        key, span, change = target if isinstance(target, tuple) and len(target) == 3 else (*_pair(target), None)
        if key in own and name in names:
            part = own[key] if span is None else own[key].narrow(*span)
            state[name] = (part if change is None else change(part)).clone()
    made.load_state_dict(state)
    return made.requires_grad_(False)


def _pair(target):
    return (target, None) if isinstance(target, str) else target


def predict(made, x, sigma, context, pooled, guidance=None, references=(), **more):
    """The velocity [B,C,H,W] at latents x and noise level `sigma`; `references`: latents of Kontext's pictures."""
    tokens, ids = _tokens(x)
    for number, latent in enumerate(references):
        extra, places = _tokens(latent)
        # ComfyUI's "offset": each reference stands beside the others, at index 1
        tokens, ids = torch.cat([tokens, extra.expand(len(x), -1, -1)], 1), torch.cat([ids, places + _one(number)])
    out = made(
        hidden_states=tokens,
        timestep=torch.full((len(x),), sigma),
        guidance=None if guidance is None else torch.full((len(x),), guidance),
        pooled_projections=pooled,
        encoder_hidden_states=context,
        img_ids=ids,
        txt_ids=torch.zeros(context.shape[1], 3),
        return_dict=False,
        **more,
    )[0]
    batch, channels, height, width = x.shape
    high, wide = -(-height // 2), -(-width // 2)
    out = out[:, : high * wide].view(batch, high, wide, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return out.reshape(batch, channels, 2 * high, 2 * wide)[:, :, :height, :width]


def _one(number):
    assert number == 0, "where further references stand is not written here"
    return torch.tensor([1.0, 0.0, 0.0])


def _tokens(x):
    """Tokens [B,N,4C] of latents, and their places [N,3]; an odd side is continued from the other end."""
    x = torch.nn.functional.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), mode="circular")
    batch, channels, height, width = x.shape
    tokens = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    ids = torch.zeros(height // 2, width // 2, 3)
    ids[..., 1] += torch.arange(height // 2)[:, None]
    ids[..., 2] += torch.arange(width // 2)[None]
    return tokens.reshape(batch, -1, 4 * channels), ids.view(-1, 3)


def add_after(made, places, added):
    """Have `added(number, picture [B,N,C])` added to the picture's tokens after the blocks at `places`, double first.

    Returns the handles of the hooks.
    """
    blocks = [*made.transformer_blocks, *made.single_transformer_blocks]

    def hook(number):
        def after(module, args, output):
            text, picture = output
            return text, picture + added(number, picture)

        return after

    return [blocks[place].register_forward_hook(hook(number)) for number, place in enumerate(places)]


def add_inside(made, added):
    """Have `added(number, q, heads)` added to what attentions give, before their projection, in all blocks.

    q [B,N,C]: the attention's queries, normalised and not rotated: the picture's, in single blocks the text's before
    them. Returns the handles of the hooks.
    """
    handles = []
    for number, block in enumerate([*made.transformer_blocks, *made.single_transformer_blocks]):
        attention, queries = block.attn, []

        def keep(module, args, output, queries=queries):
            queries[:] = [output.flatten(2)]

        def more(out, number=number, attention=attention, queries=queries):
            return out + added(number, queries[0], attention.heads)

        handles.append(attention.norm_q.register_forward_hook(keep))
        if attention.pre_only:
            handles.append(attention.register_forward_hook(lambda module, args, output, more=more: more(output)))
        else:
            handles.append(attention.to_out[0].register_forward_pre_hook(lambda module, args, more=more: more(args[0])))
    return handles


def velocity(made, prompt, put=None, levels=(1.0, 0.0), **more):
    """The reference's prediction of latents x and a noise level, for a conditioning.

    `put()` sets hooks, which are there at noise levels (from, to) and for this prediction only.
    """
    [[context, extras]] = prompt

    def predicted(x, sigma):
        rows = x.shape[0]
        with _hooked(put if levels[0] >= sigma >= levels[1] else None):
            return predict(
                made, x, sigma, context.expand(rows, -1, -1), extras["pooled_output"].expand(rows, -1),
                extras["guidance"], **more,
            )  # fmt: skip

    return predicted


@contextmanager
def _hooked(put):
    handles = [] if put is None else put()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def guided(positive, negative, cfg):
    """Two predictions under classifier-free guidance."""

    def predicted(x, sigma):
        without = negative(x, sigma)
        return without + cfg * (positive(x, sigma) - without)

    return predicted


def by_euler(model, predicted, steps, seed=1, size=(12, 16), batch=1):
    """What Euler's sampler makes of `predicted(x, sigma)`, a velocity, on the noise levels of KSampler's "simple"."""
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps).tolist()
    x = randn(batch, model.model.diffusion_model.params.out_channels, *size, seed=seed) * sigmas[0]
    for sigma, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = x + (after - sigma) * predicted(x, sigma)
    return model.model.process_latent_out(x)


def difference(one, other):
    """The largest difference, as a share of the largest number."""
    return ((one - other).abs().max() / other.abs().max()).item()
