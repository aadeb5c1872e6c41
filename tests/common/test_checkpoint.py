"""Checkpoints: atomic, verified, and closed to code."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lavis.common import checkpoint, checkpoint_folder, model_state, rng_state
from lavis.common.errors import CheckpointError


class Crash(BaseException):
    """Stands for a kill: nothing catches it."""


class Exploit:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


def test_save_and_load_round_trip(tmp_path):
    path = tmp_path / "a.pth"
    payload = {"model": {"w": torch.arange(3)}, "state": {"epoch": 2, "best": None}, "x": (1, "b")}
    checkpoint.save_checkpoint(payload, path)
    loaded = checkpoint.load_checkpoint_file(path)
    assert torch.equal(loaded["model"]["w"], torch.arange(3))
    assert (loaded["state"], loaded["x"]) == (payload["state"], payload["x"])
    assert checkpoint.is_valid(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth", "a.pth.json"]


@pytest.mark.parametrize("call", range(4))
def test_a_kill_at_any_rename_leaves_a_valid_checkpoint(tmp_path, monkeypatch, call):
    path = tmp_path / "a.pth"
    checkpoint.save_checkpoint({"n": 1}, path)
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == call + 1:
            raise Crash
        real(source, target)

    monkeypatch.setattr(checkpoint.os, "replace", replace)
    if call < 3:  # manifest, checkpoint, manifest
        with pytest.raises(Crash):
            checkpoint.save_checkpoint({"n": 2}, path)
    else:
        checkpoint.save_checkpoint({"n": 2}, path)
    monkeypatch.undo()
    assert checkpoint.is_valid(path)
    assert checkpoint.load_checkpoint_file(path)["n"] == (1 if call < 2 else 2)
    checkpoint.save_checkpoint({"n": 3}, path)
    assert checkpoint.load_checkpoint_file(path)["n"] == 3


@pytest.mark.parametrize("second", range(1, 7))
def test_a_kill_after_a_kill_leaves_predecessors_whole(tmp_path, monkeypatch, second):
    """The first one comes between the new file and its manifest, the second at any rename."""
    rename, renames = os.replace, [0, 0]

    def save(step: int, last_rename: int) -> None:
        renames[:] = [0, last_rename]
        with contextlib.suppress(SystemExit):
            checkpoint_folder.save_newest({"step": step}, tmp_path, step, keep=3)

    def replace(source, target):
        renames[0] += 1
        rename(source, target)
        if renames[0] == renames[1]:
            raise SystemExit

    monkeypatch.setattr(os, "replace", replace)
    save(1, 0)
    save(2, 0)
    save(3, 4)  # predecessor, its manifest, the manifest of both, the file
    newest = checkpoint_folder.find_newest(tmp_path.parent, tmp_path.name)
    assert checkpoint.load_checkpoint_file(newest)["step"] == 3
    assert checkpoint.manifest_step(newest) == 3
    save(4, second)
    files = list(tmp_path.glob("checkpoint_*.pth"))
    for path in files:
        if checkpoint.manifest_path(path).is_file():
            assert checkpoint.is_valid(path)
            assert checkpoint.load_checkpoint_file(path)["step"] == checkpoint.manifest_step(path)
    newest = checkpoint_folder.find_newest(tmp_path.parent, tmp_path.name)
    assert checkpoint.load_checkpoint_file(newest)["step"] in (3, 4)


def test_a_folder_that_is_gone_is_named_instead_of_a_full_disk(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"(?s)folder of a checkpoint is gone.*run/last"
    ) as found:
        checkpoint.save_checkpoint({"x": torch.zeros(3)}, tmp_path / "run" / "last.pth")
    assert "(0 bytes free)" not in str(found.value)


def test_a_failed_write_keeps_the_old_file_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    checkpoint.save_checkpoint({"n": 1}, path)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoint.save_checkpoint({"n": 2}, path)
    assert checkpoint.load_checkpoint_file(path)["n"] == 1
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damage_is_detected(tmp_path, damage):
    path = tmp_path / "a.pth"
    checkpoint.save_checkpoint({"w": torch.zeros(100)}, path)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes({"flip": content, "cut": content[:-7], "empty": b""}[damage])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load_checkpoint_file(path)
    if damage != "flip":  # without a manifest only the structure can tell
        (tmp_path / "a.pth.json").unlink()
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoint.load_checkpoint_file(path)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "executed"
    torch.save({"model": Exploit(marker)}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="refused"):
        checkpoint.load_checkpoint_file(tmp_path / "bad.pth")
    assert not marker.exists()


def test_a_missing_file_names_the_key_and_the_nearest_file(tmp_path):
    (tmp_path / "stage1.pth").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_checkpoint_file(tmp_path / "stgae1.pth", key="model.pretrained")
    assert "model.pretrained" in str(caught.value)
    assert "Did you mean 'stage1.pth'" in str(caught.value)


def test_safetensors_are_read_and_broken_ones_refused(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    assert checkpoint.load_checkpoint_file(tmp_path / "w.safetensors")["model"]["w"].sum() == 2
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load_checkpoint_file(tmp_path / "b.safetensors")


def model():
    layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    layers[0].requires_grad_(False)
    return layers


def test_the_trainable_state_keeps_buffers_and_loads_over_frozen_parts():
    source, target = model(), model()
    source[1].running_mean.fill_(3.0)
    state = model_state.trainable_state(source)
    assert {"0.weight", "0.bias"}.isdisjoint(state)
    frozen = target[0].weight.clone()
    model_state.load_trainable_state(target, state, "x")
    assert torch.equal(target[2].weight, source[2].weight)
    assert target[1].running_mean.tolist() == [3.0, 3.0]
    assert torch.equal(target[0].weight, frozen)


def test_states_that_do_not_fit_are_refused_by_name():
    state = model_state.trainable_state(model())
    state["9.weight"] = state.pop("2.weight")
    state["2.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError) as caught:
        model_state.load_trainable_state(model(), state, "x")
    for part in ("missing: 2 (2.weight)", "unexpected: 9 (9.weight)", "2.bias (5,) for (2,)"):
        assert part in str(caught.value)


def test_tied_frozen_parameters_are_left_out_under_every_name():
    tied = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    tied["b"].weight = tied["a"].weight
    tied.requires_grad_(False)
    assert model_state.trainable_state(tied) == {}


def test_newest_valid_checkpoint_is_found(tmp_path):
    for age, job in ((300, "old"), (200, "mid"), (100, "new")):
        (tmp_path / job).mkdir()
        path = tmp_path / job / "checkpoint_last.pth"
        checkpoint.save_checkpoint({"job": job}, path)
        stamp = path.stat().st_mtime - age
        os.utime(path, (stamp, stamp))
    (tmp_path / "latest").symlink_to("new")
    assert checkpoint_folder.find_newest(tmp_path).parent.name == "new"
    (tmp_path / "new/checkpoint_last.pth").write_bytes(b"damaged")
    assert checkpoint_folder.find_newest(tmp_path).parent.name == "mid"
    assert checkpoint_folder.find_newest(tmp_path, "old").parent.name == "old"
    assert checkpoint_folder.find_newest(tmp_path, "none") is None


def test_random_states_survive_a_checkpoint(tmp_path):
    checkpoint.save_checkpoint({"rng": rng_state.capture()}, tmp_path / "a.pth")
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    rng_state.restore(checkpoint.load_checkpoint_file(tmp_path / "a.pth")["rng"])
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


@pytest.mark.parametrize(
    "value",
    [
        np.mean([0.9, 0.94]),
        np.float32(1.5),
        np.int64(3),
        np.bool_(True),
        np.arange(3.0),
        argparse.Namespace(lr=0.1, name="x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_training_scripts_store_beside_weights_are_read(tmp_path, value):
    path = tmp_path / "best_model.pth"
    torch.save({"value": value, "model_state_dict": {"w": torch.ones(2)}}, path)
    found = checkpoint.load_checkpoint_file(path)["value"]
    assert type(found) is type(value)
    assert np.all(found == value)


def test_a_refused_type_is_named_without_terminal_codes(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"w": torch.ones(2), "when": datetime.date(2026, 1, 1)}, path)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_checkpoint_file(path)
    assert "datetime.date" in str(caught.value)
    assert "\x1b" not in str(caught.value)
