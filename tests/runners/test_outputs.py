"""The job's folder and its link."""

from __future__ import annotations

import json

import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.runners.outputs import job_folder, point_latest
from lavis.runners.train_log import TrainLog, mean_over_ranks, write_row


def test_latest_is_a_relative_link_that_moves(tmp_path):
    for job in ("a", "b"):
        assert (job_folder(str(tmp_path), job) / "result").is_dir()
        assert str((tmp_path / "latest").readlink()) == job
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "latest"]


def test_a_folder_named_latest_is_left_alone(tmp_path):
    (tmp_path / "latest").mkdir()
    point_latest(tmp_path, "a")
    assert not (tmp_path / "latest").is_symlink()


def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"run\.output_dir"):
        job_folder(str(tmp_path / "file"), "a")


def test_rows_hold_means_since_the_previous_row(tmp_path):
    log = TrainLog(tmp_path / "log.jsonl", total_steps=4, first_step=0, log_freq=2)
    for loss in (1.0, 3.0):
        log.add({"loss": torch.tensor(loss)}, objects=8, wait=0.0)
    assert log.report(0, 2, 0.1)["loss"] == 2.0
    assert not log.pending
    log.add({"loss": torch.tensor(7.0)}, objects=8, wait=0.0)
    log.report(0, 3, 0.1)
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["kind"], row["step"], row["loss"]) for row in rows] == [
        ("train", 2, 2.0),
        ("train", 3, 7.0),
    ]


def test_values_become_json(tmp_path):
    path = tmp_path / "log.jsonl"
    value = {"a": torch.tensor([1, 2]), "b": (torch.tensor(0.5), None), "c": torch.float32}
    write_row(path, "train", value | {"path": path})
    row = json.loads(path.read_text())
    assert row.pop("time") > 0
    expected = {"a": [1, 2], "b": [0.5, None], "c": "torch.float32", "path": str(path)}
    assert row == {"kind": "train"} | expected
    assert mean_over_ranks({"loss": 2.0}) == {"loss": 2.0}
