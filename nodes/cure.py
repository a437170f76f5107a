"""The attribute cure: giving the prompt its say back where the identity has drowned it."""

from comfy_api.latest import io, ui

from ..core.cure import MODES, TRAJECTORIES
from ..core.host.cure import apply as cure
from ..core.host.cure import latest as cure_mask
from ..core.host.faces import parser
from ..core.host.sampling.strength import Strength
from .compat import checked, offered, schema
from .sockets import range_inputs


class AttributeCure(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="AttributeCure",
            display_name="Attribute Cure",
            description="Gives the prompt its say back where a strong identity ignores it: hair, eyes, glasses, hats, "
            "make-up, expressions. Put it between ApplyIDAdapter and any sampler.",
            search_aliases=["freecure", "prompt consistency", "face attributes", "fix prompt"],
            inputs=[
                io.Model.Input("model", tooltip="From ApplyIDAdapter, or from another pack's adapter with foundation."),
                io.Clip.Input("clip", tooltip="The CLIP that encodes your positive prompt."),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="The text of your positive prompt, word for word. Connect both to one text node.",
                ),
                io.String.Input(
                    "attributes",
                    default="",
                    multiline=False,
                    tooltip="Which words of the prompt to cure, separated by commas: curly red hair, green hat. Empty: "
                    "every attribute that is found in the prompt.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="noise_blend",
                    tooltip="noise_blend: where an attribute is, what the model would draw without the identity is "
                    "blended in. shared_attention: there the model looks at it. both: one on top of the other. "
                    "freecure: the first published form, to compare with; it gives less of the prompt back.",
                ),
                io.Combo.Input(
                    "trajectory",
                    options=list(TRAJECTORIES),
                    default="shared",
                    tooltip="shared: what the model would draw without the identity is asked at each step of your "
                    "picture. separate: a picture without the identity is drawn alongside, which is more work; "
                    "freecure was published so.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of its say the prompt gets back. Start with 1; 0 changes nothing.",
                ),
                io.Float.Input(
                    "abstract_pass",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="For laughing, sad and such, where the cure alone is not enough: how far the finished "
                    "picture is taken back and drawn again without the identity. 0: off, and freecure then leaves such "
                    "words alone; it was published with 0.5. 0.3 is a good start.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White where the cure may work, to cure one person of two. A batch of masks for a batch of "
                    "pictures.",
                ),
                io.Model.Input(
                    "foundation",
                    optional=True,
                    tooltip="The model before the identity. Only needed if the identity comes from another pack.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Only of use with a face parser (BiSeNet) in models/face_parsing: shows it the picture to "
                    "come, so that it finds hair, eyes, glasses, hats and earrings more exactly.",
                ),
                *range_inputs("the cure"),
            ],
            outputs=[
                io.Model.Output(
                    "MODEL", display_name="model", tooltip="The cured model. To the sampler, and to CureMask."
                ),
                io.Mask.Output(
                    "MASK",
                    display_name="mask",
                    tooltip="Where the cure may work: your mask, or white. Where the attributes are found within it is "
                    "known only once the sampler runs; this node shows it then, and CureMask has it.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        clip,
        prompt,
        attributes,
        mode,
        trajectory,
        strength,
        abstract_pass,
        start_at,
        end_at,
        mask=None,
        foundation=None,
        vae=None,
    ):
        cured = cure.apply_cure(
            model,
            clip,
            prompt,
            attributes=attributes,
            mode=mode,
            trajectory=trajectory,
            strength=Strength(strength, start_at, end_at),
            abstract_pass=abstract_pass,
            mask=mask,
            foundation=foundation,
            vae=vae,
            observe=cure.preview_on(cls.hidden.unique_id),
        )
        return io.NodeOutput(cured, cure.allowed(mask))

    @classmethod
    def validate_inputs(cls, mode, trajectory):
        return offered(cls, mode=mode, trajectory=trajectory)

    @classmethod
    def fingerprint_inputs(cls, **_):
        return parser.parser_fingerprint()


class CureMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="CureMask",
            display_name="Cure Mask",
            description="Where Attribute Cure found its attributes, as a mask and drawn over the finished picture. "
            "Put it behind VAE Decode.",
            search_aliases=["cure overlay", "attribute mask", "hair mask", "show cure"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="From AttributeCure, the very wire that goes into the sampler."),
                io.Image.Input(
                    "image",
                    tooltip="The pictures decoded from that sampler. They make this node wait until it is done.",
                ),
                io.Float.Input(
                    "opacity",
                    optional=True,
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the picture the overlay hides where the mask is white. 0 leaves the picture.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    "MASK",
                    display_name="mask",
                    tooltip="White where the cure worked, all attributes together, in the size of each picture.",
                ),
                io.Image.Output("OVERLAY", display_name="overlay", tooltip="The pictures with the mask in green."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, model, image, opacity=0.5):
        masks, overlay = cure_mask.show_masks(model, image, opacity)
        return io.NodeOutput(masks, overlay, ui=ui.PreviewImage(overlay, cls=cls))
