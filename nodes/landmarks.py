"""Posing the face: five landmarks, drawn for a landmark ControlNet."""

from comfy_api.latest import io, ui

from ..core.host.faces.shown import faces_to_show
from ..core.host.prompts import landmarks as control
from .compat import advanced, checked, offered, schema
from .sockets import face_encoder_input, face_index_input, on_no_face_input, range_inputs


class LandmarkControl(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="LandmarkControl",
            display_name="Landmark Control",
            description="Puts the face where and how the pose picture has it: draws its eyes, nose and mouth corners "
            "for InstantID's or InfiniteYou's ControlNet.",
            search_aliases=["face keypoints", "instantid controlnet", "identitynet", "face pose"],
            has_intermediate_output=True,
            inputs=[
                io.Conditioning.Input(
                    "positive", tooltip="From ApplyIDAdapter, so that the ControlNet knows the person."
                ),
                io.Conditioning.Input("negative", tooltip="The negative prompt, from ApplyIDAdapter."),
                io.ControlNet.Input(
                    "control_net",
                    tooltip="InstantID's ControlNet (IdentityNet) or InfiniteYou's (InfuseNet), from Load ControlNet "
                    "Model.",
                ),
                face_encoder_input(),
                io.Image.Input("image", tooltip="Where the pose comes from: any picture of a face, of anybody."),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="The latent you sample: the landmarks are drawn at its size. Without it: at the size of "
                    "image.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="The model's VAE, for InfiniteYou's ControlNet and others that ask for it; InstantID's "
                    "does not.",
                ),
                io.String.Input(
                    "landmarks",
                    default="",
                    multiline=True,
                    tooltip="Landmarks as JSON in place of those found in image; the landmarks output of another run "
                    "fits. Empty: look in image.",
                ),
                face_index_input("gives the pose"),
                io.Float.Input(
                    "offset_x",
                    default=0.0,
                    min=-2.0,
                    max=2.0,
                    step=0.01,
                    tooltip="Moves the face right; 1 is a whole picture width, 0.1 a good step.",
                ),
                io.Float.Input(
                    "offset_y",
                    default=0.0,
                    min=-2.0,
                    max=2.0,
                    step=0.01,
                    tooltip="Moves the face down; 1 is a whole picture height. 0.1 makes room for a hat.",
                ),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=0.05,
                    max=10.0,
                    step=0.01,
                    tooltip="Size of the face: 2 is twice as large, 0.6 shows more of the body.",
                ),
                io.Float.Input(
                    "rotate",
                    default=0.0,
                    min=-180.0,
                    max=180.0,
                    step=1.0,
                    tooltip="Turns the face clockwise, in degrees; up to 30 looks natural.",
                ),
                io.Float.Input(
                    "strength",
                    default=0.8,
                    min=0.0,
                    max=3.0,
                    step=0.01,
                    tooltip="How firmly the pose is kept. 0.8 is a good start; 0 changes nothing.",
                ),
                *range_inputs("the pose"),
                on_no_face_input(
                    "leave that picture out; at least one must have a face.", "go on without a pose if none has a face."
                ),
                advanced(
                    io.Combo.Input,
                    "control_net_reads",
                    options=list(control.READS),
                    default=control.READS[0],
                    optional=True,
                    tooltip="What the ControlNet is given beside the landmarks. auto: the identity where an InstantID "
                    "or InfiniteYou adapter has left it, else the prompt. prompt: for an ordinary ControlNet, whose "
                    "file looks the same.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "POSITIVE", display_name="positive", tooltip="The prompt with the pose on it, to the sampler."
                ),
                io.Conditioning.Output(
                    "NEGATIVE", display_name="negative", tooltip="The negative prompt with the pose, to the sampler."
                ),
                io.Image.Output(
                    "CONTROL_IMAGE",
                    display_name="control_image",
                    tooltip="What the ControlNet sees: the drawn landmarks.",
                ),
                io.String.Output(
                    "LANDMARKS",
                    display_name="landmarks",
                    tooltip="The landmarks as drawn, as JSON; fits the landmarks input.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        positive,
        negative,
        control_net,
        face_encoder,
        image,
        landmarks,
        face_index,
        offset_x,
        offset_y,
        scale,
        rotate,
        strength,
        start_at,
        end_at,
        on_no_face,
        latent=None,
        vae=None,
        control_net_reads=control.READS[0],
    ):
        canvas = control.canvas_size(image, latent)
        source = control.pose_source(face_encoder, image, landmarks, face_index, on_no_face)
        drawn, described = control.draw(source, control.Placement(offset_x, offset_y, scale, rotate), canvas)
        how = control.Strength(strength, start_at, end_at)
        prompts = positive, negative
        positive, negative = control.add_control_net(*prompts, control_net, drawn, how, vae, control_net_reads)
        preview = ui.PreviewImage(control.preview(source, drawn, canvas), cls=cls)
        shown = {**preview.as_dict(), "likeness_faces": faces_to_show(image, source.found)}
        return io.NodeOutput(positive, negative, control.control_image(drawn, canvas), described, ui=shown)

    @classmethod
    def validate_inputs(cls, on_no_face, control_net_reads=None):
        return offered(cls, on_no_face=on_no_face, control_net_reads=control_net_reads)
