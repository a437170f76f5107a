"""What each ControlNet of a chain reads beside its picture: the prompt, or the identity.

ComfyUI knows one text for all ControlNets of a conditioning: the prompt, or what lies under TOKENS_KEY. InstantID packs
put the identity there, so a depth or canny ControlNet beside IdentityNet reads a face as well; InstantID's authors give
the identity to IdentityNet alone. So once a LandmarkControl is there, it travels as a conditioning of its own, and
`Reading`s in the chain say who reads it.
"""

from collections.abc import Callable
from typing import Any

import torch
from comfy.cldm.cldm import ControlNet as UNetControl
from comfy.conds import CONDCrossAttn
from comfy.controlnet import ControlBase
from comfy.ldm.flux.controlnet import ControlNetFlux
from comfy.ldm.flux.model import Flux
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_base import BaseModel

from .. import keys

IDENTITY, PROMPT, _AS_BEFORE = "identity", "prompt", "as before"

# A ControlNet's network, the model that it can't control, and this in words.
_MISMATCHED = (
    (UNetControl, Flux, "SD1.5 or SDXL, but the model is FLUX"),
    (ControlNetFlux, UNetModel, "FLUX, but the model is SD1.5 or SDXL"),
)
SHARED = "crossattn_controlnet"  # what lies under CONTROL_TOKENS, in a forward


class Link(ControlBase):
    """A link of a chain of ControlNets without a network of its own: it changes what those behind it see or say.

    `what` tells how. Packs that walk along chains and cut the pictures (Ultimate SD Upscale, TiledDiffusion) find one
    here too: `hint` [B,3,H,W].
    """

    sub_idxs = None  # ControlNets of AnimateDiff's context windows have it; there is nothing here to cut

    def __init__(self, what: Any, hint: torch.Tensor | None, behind: ControlBase | None):
        super().__init__()
        self.what, self.cond_hint_original = what, hint
        self.set_previous_controlnet(behind)

    def copy(self) -> "Link":
        link = type(self)(self.what, None, None)
        self.copy_to(link)
        return link

    def deepclone_multigpu(self, load_device: torch.device, autoregister: bool = False) -> "Link":
        """A copy for another GPU, as newer versions of ComfyUI ask of every link."""
        link = self.copy()
        if autoregister:
            self.multigpu_clones[load_device] = link
        return link


class Reading(Link):
    """Those behind it read something else.

    `what`: IDENTITY (what ComfyUI would give, where there is none), PROMPT, or what was read before the last Reading.
    """

    def pre_run(self, model: BaseModel, percent_to_timestep_function: Callable) -> None:
        """ValueError where the ControlNet is for another kind of model: ComfyUI would leave it out, or stop with sizes
        of tensors."""
        network = getattr(self.previous_controlnet, "control_model", None)
        drawing = getattr(model.diffusion_model, "_orig_mod", model.diffusion_model)  # of a compiled one
        for nets, models, words in _MISMATCHED:
            if isinstance(network, nets) and isinstance(drawing, models):
                raise ValueError(f"The ControlNet is for {words}; load one for this model.")
        super().pre_run(model, percent_to_timestep_function)

    def get_control(
        self, x_noisy: torch.Tensor, t: torch.Tensor, cond: dict, batched_number: int, transformer_options: dict
    ) -> dict | None:
        return self.previous_controlnet.get_control(
            x_noisy, t, _given(cond, self.what), batched_number, transformer_options
        )


def _given(cond, reads):
    if reads == _AS_BEFORE:
        return cond[keys.BEFORE]
    given = {**cond, keys.BEFORE: cond}
    if reads == PROMPT:
        given.pop(SHARED, None)
    elif keys.OWN_IDENTITY in cond:
        given[SHARED] = cond[keys.OWN_IDENTITY]
    return given


def joined(net: ControlBase, before: ControlBase | None, reads: str) -> ControlBase:
    """A chain of `net`, which reads IDENTITY or PROMPT, and the chain `before` it, which reads what it would alone."""
    hint = net.cond_hint_original
    net.set_previous_controlnet(before and Reading(_AS_BEFORE, hint, before))
    return Reading(reads, hint, net)


def has_identity(extras: dict) -> bool:
    """Whether there is an identity to read on a conditioning, ours or another pack's."""
    return keys.CONTROL_TOKENS in extras or keys.IDENTITY in extras


def keep_apart(extras: dict) -> dict:
    """The same extras, with an identity that only those read who ask for it; what another pack left there, all read."""
    if not _is_shared(extras):
        return extras
    shared = extras[keys.CONTROL_TOKENS]
    theirs = shared[:, : shared.shape[1] - extras[keys.NOBODY].shape[1]]
    apart = _apart({key: value for key, value in extras.items() if key != keys.CONTROL_TOKENS})
    return {**apart, keys.CONTROL_TOKENS: theirs} if theirs.shape[1] else apart


def with_identity(lists: list[list], tokens: list[torch.Tensor], nobody: torch.Tensor) -> list[list]:
    """Lists of conditioning entries with identity tokens [1,T,D], one for each list; people before stay in front.

    ControlNets that were there before read the prompt. Those that come read the identity, as with other InstantID
    packs, until a LandmarkControl is among them: then only its ControlNet does.
    """
    # Entries that share a ControlNet share the link too, so that it runs once for them.
    links: dict[ControlBase, Reading] = {}

    def given(extras, added):
        chain, shared = extras.get("control"), extras.get(keys.CONTROL_TOKENS)
        extras = {
            **extras,
            keys.IDENTITY: _appended(extras.get(keys.IDENTITY, shared), added),
            keys.NOBODY: _appended(extras.get(keys.NOBODY), nobody),
        }
        if _asked_for(chain):
            return _apart(extras)
        if chain is not None and shared is None:
            extras["control"] = links.setdefault(chain, Reading(PROMPT, chain.cond_hint_original, chain))
        return {**extras, keys.CONTROL_TOKENS: _appended(shared, added)}

    return [
        [[text, given(extras, added)] for text, extras in entries] for entries, added in zip(lists, tokens, strict=True)
    ]


def without_identity(entry: dict, negative: list[dict]) -> dict:
    """What a guider's conditioning entry has its ControlNets read where there is nobody: only what differs."""
    changed = {}
    if keys.OWN_IDENTITY in entry["model_conds"]:
        changed["model_conds"] = {**entry["model_conds"], keys.OWN_IDENTITY: CONDCrossAttn(entry[keys.NOBODY])}
    if _is_shared(entry):
        changed[keys.CONTROL_TOKENS] = entry[keys.NOBODY]
    elif keys.CONTROL_TOKENS in entry:  # another pack's: what it gives the unconditional half
        theirs = (other[keys.CONTROL_TOKENS] for other in negative if keys.CONTROL_TOKENS in other)
        changed[keys.CONTROL_TOKENS] = next(theirs, entry[keys.CONTROL_TOKENS])
    return changed


def _is_shared(extras):
    """Whether every ControlNet reads our identity, by ComfyUI's key."""
    own, shared = extras.get(keys.IDENTITY), extras.get(keys.CONTROL_TOKENS)
    return own is not None and shared is not None and torch.equal(own, shared)


def _apart(extras):
    return {
        **extras,
        "model_conds": {**extras.get("model_conds", {}), keys.OWN_IDENTITY: CONDCrossAttn(extras[keys.IDENTITY])},
    }


def _asked_for(chain):
    """Whether a ControlNet of a chain reads the identity by a Reading."""
    while chain is not None:
        if isinstance(chain, Reading) and chain.what == IDENTITY:
            return True
        chain = chain.previous_controlnet
    return False


def _appended(before, added):
    return added if before is None else torch.cat([before, added], dim=1)
