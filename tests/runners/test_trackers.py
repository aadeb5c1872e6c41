"""Trackers: scalars that TensorBoard reads, missing packages, failures during a run."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

from lavis.common.errors import ConfigError
from lavis.runners import loss_curve, trackers


def test_tensorboard_reads_the_logged_scalars(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    tracker = trackers.TensorBoard(tmp_path, {})
    tracker.log(300, {"train/loss": 0.5, "train/lr": 1e-4})
    (path,) = (tmp_path / "tensorboard").iterdir()
    events = list(loader.EventFileLoader(str(path)).Load())  # before close: written at each log
    tracker.close()
    found = {value.tag: value.tensor.float_val[0] for e in events for value in e.summary.value}
    assert found == pytest.approx({"train/loss": 0.5, "train/lr": 1e-4})
    assert {e.step for e in events if e.summary.value} == {300}


class Failing:
    calls = 0

    def __init__(self, folder, config):
        pass

    def log(self, step, values):
        Failing.calls += 1
        raise ConnectionError("gone")

    def close(self):
        raise ConnectionError("gone")


class Collecting:
    steps: ClassVar[list[int]] = []

    def __init__(self, folder, config):
        pass

    def log(self, step, values):
        self.steps.append(step)

    def close(self):
        pass


def test_a_failing_tracker_is_left_out_and_training_ends(tiny, monkeypatch, caplog):
    monkeypatch.setitem(trackers.TRACKERS, "failing", Failing)
    monkeypatch.setitem(trackers.TRACKERS, "list", Collecting)
    tiny.runner(trackers=["failing", "list"], log_freq=1).train()
    assert Failing.calls == trackers.MAX_FAILURES
    assert "failing is left out" in caplog.text
    assert Collecting.steps[-1] == tiny.rows(kind="train")[-1]["step"]


@pytest.mark.parametrize(
    ("name", "command"),
    [("tensorboard", "-r requirements-tensorboard.txt"), ("trackio", "no_such_package")],
)
def test_a_missing_package_is_refused_with_the_command(name, command, tiny, monkeypatch):
    monkeypatch.setattr(trackers.TRACKERS[name], "package", "no_such_package")
    with pytest.raises(ConfigError, match=rf"run\.trackers[\s\S]*pip install {command}"):
        tiny.runner(trackers=[name]).train()


def test_the_default_needs_no_package(tiny):
    tiny.runner(max_epoch=1).train()
    assert not (tiny.path / "job/tensorboard").exists()


def test_the_loss_curve_takes_the_last_value_of_a_repeated_step(tiny):
    tiny.runner(max_epoch=1, log_freq=1).train()
    assert (tiny.path / "job/loss.png").read_bytes().startswith(b"\x89PNG")
    log = tiny.path / "job/log.jsonl"
    with log.open("a") as file:
        file.write(json.dumps({"kind": "train", "step": 2, "loss": 9.0}) + '\n{"kind": "tra')
    points = loss_curve.curves(loss_curve.read_rows(log))["loss"]
    assert points[2] == 9.0
    assert list(points) == [1, 2, 3, 4, 5]


def test_every_promised_number_is_logged(tiny):
    tiny.runner(max_epoch=1, log_freq=1).train()
    row = tiny.rows(kind="train")[0]
    wanted = {"objects_per_s", "data_wait_share", "memory_gb", "grad_norm", "temperature", "lr"}
    assert wanted <= row.keys()
    assert row["memory_gb"] > 0.01
