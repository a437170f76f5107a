"""Changing an identity before it is used."""

from comfy_api.latest import io

from ..core.host.who import directions
from .compat import checked, schema
from .sockets import Identity


class EditIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="EditIdentity",
            display_name="Edit Identity",
            description="Makes a face older, smiling, with glasses and so on, for W+ adapters: moves the identity "
            "along a direction. Chain one node per change.",
            search_aliases=["age slider", "smile slider", "w+ direction", "interfacegan", "edit face"],
            inputs=[
                Identity.Input("identity", tooltip="A W+ code, from EncodeIdentity with e4e_ffhq_encode.pt."),
                io.Combo.Input(
                    "direction",
                    options=directions.names(),
                    tooltip="What changes: a file in models/likeness_directions.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-4.0,
                    max=4.0,
                    step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="How much, and which way: negative is the opposite, such as younger. 0 changes nothing.",
                ),
                io.String.Input(
                    "layers",
                    default="0-7",
                    tooltip="Rows of the code that change, 0 to 17. 0-7: shape and features, the colours stay. all: "
                    "everything.",
                ),
            ],
            outputs=[
                Identity.Output(
                    "IDENTITY",
                    display_name="identity",
                    tooltip="The changed person, for ApplyIDAdapter or another change.",
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, identity, direction, strength, layers):
        return io.NodeOutput(directions.edit(identity, direction, strength, layers))

    @classmethod
    def validate_inputs(cls, direction):
        # None comes over a wire and is known later
        return direction is None or directions.why_not_found(direction) or True

    @classmethod
    def fingerprint_inputs(cls, direction, **others):
        return direction and directions.direction_fingerprint(direction)
