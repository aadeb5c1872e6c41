"""Trackers: what TensorBoard reads, and that no tracker stops a run."""

from __future__ import annotations

import json
import struct

import pytest

from lavis.runners import loss_curve, trackers
from lavis.runners.tensorboard_events import EventFile, as_float32, crc32c


def test_checksum_of_the_standard_text():
    assert crc32c(b"123456789") == 0xE3069283


def test_events_are_what_tensorboard_reads(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    events = EventFile(tmp_path)
    events.add(300, {"train/loss": 0.5, "train/lr": 1e-4})
    events.close()
    (path,) = tmp_path.iterdir()
    first, second = loader.EventFileLoader(str(path)).Load()
    assert first.file_version == "brain.Event:2"
    assert second.step == 300
    found = {value.tag: value.tensor.float_val[0] for value in second.summary.value}
    assert found == pytest.approx({"train/loss": 0.5, "train/lr": 1e-4})


def test_records_have_their_length(tmp_path):
    events = EventFile(tmp_path)
    events.add(1, {"a": float("nan"), "b": 1e300})
    events.close()
    content = next(tmp_path.iterdir()).read_bytes()
    lengths, place = [], 0
    while place < len(content):
        lengths.append(struct.unpack_from("<Q", content, place)[0])
        place += 8 + 4 + lengths[-1] + 4
    assert place == len(content)
    assert len(lengths) == 2
    assert as_float32(-1e300) == -float("inf")


class Failing:
    calls = 0

    def __init__(self, folder, config):
        pass

    def log(self, step, values):
        Failing.calls += 1
        raise ConnectionError("gone")

    def close(self):
        raise ConnectionError("gone")


def test_a_failing_tracker_is_left_out_and_training_ends(tiny, monkeypatch, caplog):
    monkeypatch.setitem(trackers.TRACKERS, "failing", Failing)
    tiny.runner(trackers=["failing", "tensorboard"], log_freq=1).train()
    assert Failing.calls == trackers.MAX_FAILURES
    assert "failing is left out" in caplog.text
    assert list((tiny.path / "job/tensorboard").iterdir())


def test_a_missing_package_is_no_error(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(trackers.Trackio, "package", "no_such_package")
    trackers.Trackers(["trackio"], tmp_path, {}).log("train", 1, {"loss": 1.0})
    assert "no_such_package" in caplog.text


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
