"""A run's checkpoint is enough for inference, unless it lacks weights; then the file is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lavis.common.checkpoint import save_checkpoint
from lavis.common.errors import CheckpointError
from lavis.common.model_state import trainable_state
from lavis.models.hub.folder import base_names
from lavis.models.hub.trained_run import build_trained, find_file, trained_section
from lavis.models.weights.files import save_tensors
from lavis.stock import registered

GONE = "output/no_such_system/no_such_run/checkpoint_last.pth"
STARTS = {"pretrained": GONE, "point_encoder_weights": GONE}
UNTIED = "language_model.model.lm_head.weight"  # its rows of added tokens are random
# Keys that keep the tiny Point-Bind as its type's yaml sizes it, and all of stage 2 trained.
BIND = {"hidden": 384, "audio": 0}
ALL_TRAINED = {"point_blip_llm": {"freeze_pc_projection": False}}
WHOLE = (
    *("point_blip", "point_blip_llm", "mixcon3d", "point_bind", "ulip_text"),
    *("text4point", "text4point_segmentation", "text4point_instances"),
    *("text4point_detection", "text4point_referring"),
)


def assert_equal_weights(loaded: torch.nn.Module, model: torch.nn.Module) -> None:
    """Compare all but the frozen weights of base models, which have own files."""
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name in model.state_dict().keys() - base_names(model) - {UNTIED}:
        value = model.state_dict()[name]
        assert torch.equal(value, loaded.state_dict()[name]), name


@pytest.fixture
def train(model_sections, tmp_path) -> Callable[..., tuple[Any, dict[str, Any], Path]]:
    """Return a function (arch, own keys) -> model, its section, checkpoint of a run."""

    def make(arch: str, **own: Any) -> tuple[Any, dict[str, Any], Path]:
        section = model_sections[arch] | own
        torch.manual_seed(1)
        model = registered("model", arch).from_config(OmegaConf.create(section)).eval()
        checkpoint = tmp_path / "output" / arch / "run" / "checkpoint_last.pth"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        payload = {"model": trainable_state(model), "space": getattr(model, "space", None)}
        save_checkpoint(payload, checkpoint)
        return model, {"arch": arch} | section, checkpoint

    return make


@pytest.mark.parametrize("arch", WHOLE)
def test_a_copied_run_loads_without_its_start(arch, train) -> None:
    model, section, checkpoint = train(arch, **ALL_TRAINED.get(arch, {}))
    loaded = build_trained(section | STARTS, checkpoint)
    assert not loaded.training
    assert loaded.loaded_checkpoint == str(checkpoint)
    assert_equal_weights(loaded, model)


@pytest.fixture
def two_phases(train) -> tuple[Any, dict[str, Any], Path, Path]:
    """A second phase of Point-LLM on a Point-Bind: model, section, checkpoint, first phase's."""
    _, bind, joint = train("point_bind", **BIND)
    named = bind | {"model_type": "bricks", "finetuned": str(joint)}
    _, _, written = train("point_llm", joint=named)
    first = written.with_name("first.pth")
    written.rename(first)
    model, section, checkpoint = train(
        "point_llm", joint=named, phase="finetune", pretrained=str(first)
    )
    return model, section, checkpoint, first


def test_frozen_parts_come_from_the_start_that_is_still_there(two_phases) -> None:
    model, section, checkpoint, _ = two_phases
    section["joint"]["point_encoder_weights"] = GONE  # held by `joint.finetuned`
    loaded = build_trained(section, checkpoint)
    assert_equal_weights(loaded, model)


def test_a_first_phase_that_is_gone_is_named_with_what_it_held(two_phases) -> None:
    _, section, checkpoint, first = two_phases
    first.unlink()
    with pytest.raises(CheckpointError, match="base model is missing") as error:
        build_trained(section, checkpoint)
    assert "bind_network" in str(error.value)
    assert "where:    model.pretrained\n" in str(error.value)


def test_a_nested_model_that_is_gone_is_named(two_phases) -> None:
    _, section, checkpoint, _ = two_phases
    section["joint"]["finetuned"] = GONE
    with pytest.raises(CheckpointError, match=r"model\.joint\.finetuned"):
        build_trained(section, checkpoint)


@pytest.mark.parametrize("arch", ["point_blip", "point_blip_llm", "point_llm_contrastive"])
def test_a_frozen_encoder_needs_its_file(arch, train, tmp_path) -> None:
    frozen = {} if arch == "point_llm_contrastive" else {"freeze_point_encoder": True}
    frozen |= ALL_TRAINED.get(arch, {})
    teacher, _, _ = train(arch)
    weights = tmp_path / "elsewhere" / "encoder.safetensors"
    save_tensors(weights, teacher.point_encoder.state_dict(), {})
    model, section, checkpoint = train(arch, point_encoder_weights=str(weights), **frozen)
    loaded = build_trained(section, checkpoint)
    assert_equal_weights(loaded, model)
    weights.unlink()
    with pytest.raises(CheckpointError, match="base model is missing") as error:
        build_trained(section, checkpoint)
    assert "model.point_encoder_weights" in str(error.value)


def test_tokens_of_training_are_not_read_for_inference(train) -> None:
    _, section, checkpoint = train("point_llm_contrastive")
    found, _ = trained_section(section | {"token_cache": "output/no_such_tokens"}, checkpoint)
    assert found["token_cache"] is None


def test_files_that_inference_reads_are_found_beside_the_copy(tmp_path) -> None:
    checkpoint = tmp_path / "output" / "bricks" / "run" / "checkpoint_last.pth"
    named = {"cache": "output/images/cache.pt", "retrieval_head": "output/bricks/head.safetensors"}
    found, gone = trained_section(named, checkpoint)
    assert (found | {"finetuned": None}, gone) == (named | {"finetuned": None}, {})
    for name in named.values():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found, _ = trained_section(named, checkpoint)
    assert [found[key] for key in named] == [str(tmp_path / name) for name in named.values()]


def test_a_damaged_checkpoint_is_not_called_incomplete(train) -> None:
    _, section, checkpoint = train("ulip_text")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(CheckpointError) as error:
        build_trained(section, checkpoint)
    assert "base model" not in str(error.value)


def test_files_of_a_copied_tree_come_before_those_below_the_root(tmp_path, repo_root) -> None:
    own = tmp_path / "copied" / "system" / "stage2"
    named = "output/other/stage1/checkpoint_last.pth"
    places = [own.parent.parent / "other" / "stage1", own.parent / "stage1"]
    own.mkdir(parents=True)
    assert find_file(named, own) is None
    for place in places:
        place.mkdir(parents=True)
        (place / "checkpoint_last.pth").write_bytes(b"")
        assert find_file(named, own) == place / "checkpoint_last.pth"
    assert find_file("pyproject.toml", own) == repo_root / "pyproject.toml"
    # Its own checkpoint is never a run's start.
    (own / "checkpoint_last.pth").write_bytes(b"")
    assert find_file("output/no_such/stage2/checkpoint_last.pth", own) is None
