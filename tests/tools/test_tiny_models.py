"""The models of tests/tiny: ComfyUI's own loaders take them, and they draw; and what tests run graphs with."""

import pytest
import torch
from comfy_process import ComfyError, HostPack
from graphs import text_to_image, with_control_net

KINDS = ("sd15", "sdxl")


def test_a_pack_that_does_not_import_is_reported(comfyui, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/__init__.py").write_text("import no_such_module_anywhere")
    assert not HostPack(tmp_path / "broken").loaded


@pytest.mark.parametrize("kind", KINDS)
def test_tiny_checkpoint_is_detected_as_its_family(comfyui, tiny_files, kind):
    graph = text_to_image(f"tiny_{kind}.safetensors", steps=1)
    result = comfyui.run_graph(graph)
    model, clip, vae = result.values("model")
    assert type(model.model).__name__ == {"sd15": "BaseModel", "sdxl": "SDXL"}[kind]
    assert type(clip.cond_stage_model).__name__ == {"sd15": "TinySD15ClipModel", "sdxl": "TinySDXLClipModel"}[kind]
    assert type(vae.first_stage_model).__name__ == "TAESD"
    unet = model.model.diffusion_model
    named = unet.named_modules()
    transformers = [block for name, block in named if name.rpartition(".")[0].endswith("transformer_blocks")]
    assert len(transformers) == {"sd15": 16, "sdxl": 70}[kind]
    assert {block.attn2.heads for block in transformers} == {"sd15": {8}, "sdxl": {2, 4}}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_depend_on_prompt_and_seed_and_repeat(comfyui, tiny_files, kind):
    def picture(**changes):
        return comfyui.run_graph(text_to_image(f"tiny_{kind}.safetensors", **changes)).values("image")[0]

    first = picture()
    assert first.shape == (1, 128, 128, 3) and first.isfinite().all()
    assert first.std() > 0.02 and ((first > 0) & (first < 1)).float().mean() > 0.9  # contrast, and not clipped
    assert torch.equal(first, picture())
    assert (first - picture(text="a man with a red hat, laughing")).abs().mean() > 0.002
    assert (first - picture(seed=2)).abs().mean() > 0.01


def test_control_net_loads_and_has_an_effect(comfyui, tiny_files):
    def picture(strength):
        graph = with_control_net(text_to_image("tiny_sdxl.safetensors"), strength)
        return comfyui.run_graph(graph).values("image")[0]

    without, half, full = picture(0.0), picture(0.5), picture(1.0)
    plain = comfyui.run_graph(text_to_image("tiny_sdxl.safetensors")).values("image")[0]
    assert torch.equal(without, plain)
    assert 0.001 < (half - without).abs().mean() < (full - without).abs().mean()
    assert full.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_tiny_unet_is_the_class_and_shape_of_the_checkpoint(comfyui, tiny_files, kind):
    from tiny.unet import unet

    loaded = comfyui.run_graph(text_to_image(f"tiny_{kind}.safetensors", steps=1)).values("model")[0].model
    built = unet(kind).model
    assert type(built) is type(loaded)
    shapes = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    assert shapes == {name: tuple(value.shape) for name, value in loaded.state_dict().items()}
    other = unet(kind, seed=1, dtype=torch.float16).model
    assert other.get_dtype() == torch.float16
    first, second = (model.diffusion_model.time_embed[0].weight.float() for model in (built, other))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_adapter_file_has_one_pair_per_site_of_the_unet(comfyui, tiny_files, kind):
    from safetensors import safe_open
    from tiny.unet import unet

    name = {"sdxl": "tiny_instantid.safetensors", "sd15": "tiny_instantid_sd15.safetensors"}[kind]
    path = comfyui.base / "models/instantid" / name
    assert {path, path.with_suffix(".bin")} <= set(tiny_files)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"likeness.face_space": "dlib-resnet34-128"}
        flat = {key: file.get_tensor(key) for key in file.keys()}
    nested = torch.load(path.with_suffix(".bin"), weights_only=True)
    assert flat.keys() == {f"{top}.{key}" for top, part in nested.items() for key in part}
    assert all(torch.equal(flat[f"{top}.{key}"], value) for top, part in nested.items() for key, value in part.items())

    # Adapters count in the order of diffusers; ComfyUI's own map between the names of both says where the sites are.
    import comfy.utils

    weights = unet(kind).model.diffusion_model.state_dict()
    theirs = comfy.utils.unet_to_diffusers(unet(kind).model.model_config.unet_config)
    keys = [key for key in theirs if key.endswith("attn2.to_k.weight")]
    keys.sort(key=lambda key: (("down", "up_b", "mid_").index(key[:4]), *map(int, filter(str.isdigit, key.split(".")))))
    for index, key in enumerate(keys):
        for part in ("to_k_ip", "to_v_ip"):
            assert flat[f"ip_adapter.{2 * index + 1}.{part}.weight"].shape == weights[theirs[key]].shape
    assert len(keys) * 2 == len(nested["ip_adapter"])


def test_run_graph_reports_a_refused_and_a_failed_graph(comfyui, tiny_files):
    with pytest.raises(ComfyError, match=r"CheckpointLoaderSimple \(model\): Value not in list: ckpt_name: 'none'"):
        comfyui.run_graph(text_to_image("none"))
    bad = comfyui.base / "models/checkpoints/bad.safetensors"
    bad.write_bytes(b"\0" * 100)
    try:
        with pytest.raises(ComfyError, match=r"CheckpointLoaderSimple \(model\)"):
            comfyui.run_graph(text_to_image("bad.safetensors"))
    finally:
        bad.unlink()


def test_an_executor_that_is_kept_keeps_its_cache(comfyui, tiny_files):
    executor = comfyui.executor()
    first = comfyui.run_graph(text_to_image("tiny_sd15.safetensors", steps=1), executor).values("model")[0]
    again = comfyui.run_graph(text_to_image("tiny_sd15.safetensors", steps=1, seed=5), executor).values("model")[0]
    assert first is again
    assert comfyui.run_graph(text_to_image("tiny_sd15.safetensors", steps=1)).values("model")[0] is not first
