"""Chat from files: inputs with weights, dialogues, the command line, and what is refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save_file
from scipy.io import wavfile

from lavis.common.checkpoint import save_checkpoint
from lavis.common.errors import ConfigError, DataError
from lavis.common.model_state import trainable_state
from lavis.models.point_llm_models import chat
from lavis.models.teachers.head import FeatureHead
from lavis.models.teachers.item import Input, ItemReader, read_input
from lavis.models.teachers.own_files import square_image
from lavis.processors import load_processor


@pytest.fixture
def files(tmp_path):
    """One file of each modality: {modality: path}."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "cloud.npy", rng.normal(size=(200, 3)).astype(np.float32))
    Image.fromarray(rng.integers(0, 255, (40, 20, 3), np.uint8)).save(tmp_path / "image.png")
    wavfile.write(tmp_path / "sound.wav", 8000, rng.normal(0, 8000, 4000).astype(np.int16))
    names = {"point": "cloud.npy", "image": "image.png", "audio": "sound.wav"}
    return {modality: str(tmp_path / name) for modality, name in names.items()}


@pytest.fixture
def model(build_model):
    """A tiny Point-LLM whose answers depend on the item."""
    model = build_model("point_llm").eval()
    with torch.no_grad():
        model.language_model.gates.fill_(3.0)
    return model


@pytest.fixture
def reader(model, tmp_path):
    """Reads files with random heads in the model's space."""
    space, heads = model.space, {}
    for name, width in (("image", 1280), ("sound", 512)):
        heads[name] = str(tmp_path / f"{name}_head.safetensors")
        save_file(FeatureHead(width, 32, 16).state_dict(), heads[name], {"space": space})
    options = {"num_points": 64, "missing_color": 0.5, "resample": "fps"}
    processor = load_processor("point_eval", OmegaConf.create(options))
    return ItemReader(model.joint, processor, heads["image"], heads["sound"])


def test_weights_follow_a_colon():
    assert read_input("point", "a.ply:0.25") == Input("point", "a.ply", 0.25)
    assert read_input("image", "C:/a.png") == Input("image", "C:/a.png")
    assert read_input("text", "size: large") == Input("text", "size: large")
    for weight in ("0", "-1", "nan", "inf"):
        with pytest.raises(ConfigError, match="not above 0"):
            read_input("point", f"a.ply:{weight}")


def test_inputs_of_four_modalities_are_mixed_by_weight(model, reader, files):
    inputs = [Input(name, path, weight) for weight, (name, path) in enumerate(files.items(), 1)]
    batch, weights = reader.read([*inputs, Input("text", "a chair", 4.0)])
    assert weights == {"point": 1, "image": 2, "audio": 3, "text": 4}
    assert batch["point_cloud"].shape == (1, 64, 6)
    mixed = model.mixed(batch, model._inputs("inputs", list(weights), list(weights.values())))
    expected = sum(w / 10 * model.embed(batch, name) for name, w in weights.items())
    torch.testing.assert_close(mixed, expected)
    # The same inputs in other proportions are another item.
    other = model.mixed(batch, model._inputs("inputs", list(weights), [4, 3, 2, 1]))
    assert not torch.allclose(mixed, other)


def test_clouds_without_colour_are_grey_and_z_is_turned_up(model, reader, files):
    (cloud,) = reader.read([Input("point", files["point"])])[0]["point_cloud"]
    assert (cloud[:, 3:] == 0.5).all()
    turned = ItemReader(model.joint, reader.processor, up_axis="z")
    (other,) = turned.read([Input("point", files["point"])])[0]["point_cloud"]
    torch.testing.assert_close(other[:, [0, 2, 1]] * torch.tensor([1, -1, 1]), cloud[:, :3])


def test_a_dialogue_repeats_its_turns_and_an_empty_line_begins_anew(model, reader, files):
    seen = []
    reply = model.reply

    def watched(batch, weights, question, turns, **options):
        seen.append((question, len(turns)))
        return reply(batch, weights, question, turns, **options)

    model.reply = watched
    questions = ["what ?", "and its colour ?\n", "", "what ?"]
    inputs = [Input("point", files["point"])]
    answers = list(chat.replies(model, reader, inputs, questions, max_new_tokens=4))
    assert seen == [("what ?", 0), ("and its colour ?", 1), ("what ?", 0)]
    assert answers[0] == answers[2]


def test_the_command_loads_a_run_and_answers(
    model, model_sections, files, tmp_path, capsys, monkeypatch
):
    options = {"point_processor": {"eval": {"name": "point_eval", "num_points": 64}}}
    section = model_sections["point_llm"] | {"arch": "point_llm", "model_type": "bricks"}
    config = OmegaConf.create({"model": section, "datasets": {"bricks_caption": options}})
    OmegaConf.save(config, tmp_path / "config.yaml")
    payload = {"model": trainable_state(model), "space": model.space}
    save_checkpoint(payload, tmp_path / "checkpoint_last.pth")
    arguments = ["--run", str(tmp_path), "--cloud", files["point"], "--max-new-tokens", "4"]
    assert chat.main([*arguments, "what ?", "and ?", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["question"] for line in lines] == ["what ?", "and ?"]
    monkeypatch.setattr("sys.stdin", io.StringIO("what ?\n"))
    assert chat.main([*arguments, "--temperature", "0.1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["what ?"], "no input"),
        (["--cloud", "a.ply", "--temperature", "0"], "temperature"),
        (["--cloud", "a.ply", "--run", "/nowhere"], "no trained model"),
    ],
)
def test_command_lines_that_cannot_work_are_refused(arguments, problem, capsys):
    assert chat.main(arguments) == 1
    assert problem in capsys.readouterr().err


def test_files_that_cannot_be_used_are_named(reader, files, tmp_path):
    silent, short = tmp_path / "silent.wav", tmp_path / "short.wav"
    wavfile.write(silent, 8000, np.zeros(8000, np.int16))
    wavfile.write(short, 8000, np.full(100, 9000, np.int16))
    (tmp_path / "damaged.png").write_bytes(b"none")
    for modality, path, problem in [
        ("audio", silent, "silence"),
        ("audio", short, r"0\.013 s"),
        ("audio", tmp_path / "none.wav", "no such sound"),
        ("image", tmp_path / "damaged.png", r"damaged\.png"),
        ("point", tmp_path / "none.ply", r"none\.ply"),
    ]:
        with pytest.raises(DataError, match=problem):
            reader.read([Input(modality, str(path))])
    with pytest.raises(ConfigError, match="one of each modality"):
        reader.read([Input("point", files["point"])] * 2)
    with pytest.raises(ConfigError, match="one of each modality"):
        reader.read([])


def test_a_teacher_of_another_space_is_refused(reader, files, tmp_path):
    reader.sound_name = str(tmp_path / "other.safetensors")
    save_file(FeatureHead(512, 32).state_dict(), reader.sound_name, {"space": "other"})
    with pytest.raises(ConfigError, match=r"another space[\s\S]*other"):
        reader.read([Input("audio", files["audio"])])


def test_images_are_squares_on_white():
    image = square_image(np.zeros((10, 30, 3), np.uint8), 30)
    assert image.shape == (1, 3, 30, 30)
    assert image[0, :, 0].min() > 0.99
    assert image[0, :, 15].max() < 0.01
