"""A real ComfyUI process over HTTP and WebSocket, as tests, benchmarks and the demo start and ask it."""

import io

import numpy as np
import pytest
from comfy_process import ComfyError, ComfyServer, find_comfyui
from comfy_versions import first_and_last
from graphs import text_to_image
from PIL import Image


def picture(server, entry):
    [saved] = entry["outputs"]["save"]["images"]
    return np.asarray(Image.open(io.BytesIO(server.view(**saved))))


def test_what_the_server_says_of_itself(server):
    assert server.system_stats()["devices"][0]["type"] == "cpu"
    with pytest.raises(ComfyError, match="no node NoSuchNode"):
        server.object_info("NoSuchNode")


@pytest.mark.parametrize("kind", ("sd15", "sdxl"))
def test_pictures_over_http(server, kind):
    progress = []
    prompts = [{}, {"text": "a man with a red hat, laughing"}, {"seed": 2}]
    queued = [server.queue(text_to_image(f"tiny_{kind}.safetensors", **changes)) for changes in prompts]
    pictures = [picture(server, server.wait(one, lambda *event: progress.append(event))) for one in queued]
    steps = [event for event in progress if event[0] == "sample"]
    assert first_and_last(steps) == [("sample", 1, 3), ("sample", 3, 3)]
    assert pictures[0].shape == (128, 128, 3) and pictures[0].std() > 5
    assert np.any(pictures[0] != pictures[1]) and np.any(pictures[0] != pictures[2])
    server.free()
    repeated = text_to_image(f"tiny_{kind}.safetensors")
    # A node that changes nothing, so that the picture is computed again even where ComfyUI's cache still has the first.
    repeated["once"] = {"class_type": "RepeatLatentBatch", "inputs": {"samples": ["latent", 0], "amount": 1}}
    repeated["sample"]["inputs"]["latent_image"] = ["once", 0]
    assert np.array_equal(pictures[0], picture(server, server.wait(server.queue(repeated))))


def test_a_finished_prompt_can_be_waited_for_again(server):
    prompt_id = server.queue(text_to_image("tiny_sd15.safetensors", steps=1))
    entry = server.wait(prompt_id)
    assert server.wait(prompt_id, timeout=1) == entry == server.history(prompt_id)
    assert server.history("unknown") is None


def test_refused_prompt_names_node_and_reason(server):
    with pytest.raises(ComfyError, match=r"CheckpointLoaderSimple \(model\): Value not in list: ckpt_name: 'none'"):
        server.queue(text_to_image("none"))
    with pytest.raises(ComfyError, match="NoSuchNode"):
        server.queue({"1": {"class_type": "NoSuchNode", "inputs": {}}})


def test_a_prompt_that_is_refused_in_part_is_refused(server):
    """ComfyUI answers 200, and runs the rest."""
    graph = text_to_image("tiny_sd15.safetensors")
    graph["more"] = {"class_type": "EmptyLatentImage", "inputs": {"width": -5, "height": 64, "batch_size": 1}}
    graph["seen"] = {"class_type": "VAEDecode", "inputs": {"samples": ["more", 0], "vae": ["model", 2]}}
    graph["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["seen", 0]}}
    with pytest.raises(ComfyError, match=r"a part of the prompt\nEmptyLatentImage \(more\): .*width"):
        server.queue(graph)


def test_failed_prompt_names_node_and_reason(server, tmp_path):
    (server.base / "models/checkpoints/bad.safetensors").write_bytes(b"\0" * 100)
    prompt_id = server.queue(text_to_image("bad.safetensors"))
    with pytest.raises(ComfyError, match=r"CheckpointLoaderSimple \(model\)"):
        server.wait(prompt_id)


def test_interrupt_ends_a_run(server):
    prompt_id = server.queue(text_to_image("tiny_sdxl.safetensors", steps=10_000))
    with pytest.raises(ComfyError, match=r"Interrupted in KSampler \(sample\)"):
        server.wait(prompt_id, lambda node, value, maximum: value >= 2 and server.interrupt())


def test_uploaded_picture_is_loaded(server, tmp_path):
    pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    Image.fromarray(pixels).save(tmp_path / "face.png")
    graph = {
        "load": {"class_type": "LoadImage", "inputs": {"image": server.upload_image(tmp_path / "face.png")}},
        "save": {"class_type": "PreviewImage", "inputs": {"images": ["load", 0]}},
    }
    assert np.array_equal(picture(server, server.wait(server.queue(graph))), pixels)


def test_a_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "user").mkdir()
    with pytest.raises(ComfyError, match="(?s)ended with code.*unrecognized arguments: --no-such-option"):
        with ComfyServer(tmp_path, find_comfyui(), extra_args=["--no-such-option"]):
            pass


def test_comfyui_is_looked_for_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="set COMFYUI_PATH"):
        find_comfyui()
    (tmp_path / "main.py").touch()
    assert find_comfyui() == tmp_path.resolve()
