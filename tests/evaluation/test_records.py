"""The result schema, id checks, strict atomic JSON and provenance."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import EvaluationError
from lavis.common.files import file_sha256
from lavis.evaluation.read_records import checked_record
from lavis.evaluation.records import (
    SCHEMA_VERSION,
    build_metrics_record,
    config_hash,
    git_commit,
    validate_ids,
    write_json_atomic,
)

ARGUMENTS = {
    "task": "point_captioning",
    "split": "test",
    "metrics": {"cider": {"value": np.float32(0.5), "ci95": (0.4, 0.6)}, "spice": {"value": None}},
    "baselines": {"nearest_neighbour": {"cider": np.float64(0.25)}},
    "n_expected": 10,
    "n_scored": 10,
    "config_hash": "c" * 64,
    "git_commit": None,
    "seed": 42,
    "checkpoint_hash": None,
    "extra": {"tokenizer": "simple-ptb", "confusion": np.eye(2, dtype=np.int64)},
}


def test_record_is_plain_json_and_survives_a_round_trip(tmp_path):
    record = build_metrics_record(**ARGUMENTS)
    path = write_json_atomic(tmp_path / "deep" / "metrics.json", record)
    loaded = json.loads(path.read_text())
    assert loaded == record
    assert loaded["schema_version"] == SCHEMA_VERSION == 2
    assert loaded["metrics"]["cider"] == {"value": 0.5, "ci95": [0.4, 0.6]}
    assert loaded["metrics"]["spice"] == {"value": None, "ci95": None}
    assert loaded["extra"]["confusion"] == [[1, 0], [0, 1]]
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"metrics": {"cider": {"value": float("nan")}}, "baselines": {}}, "cider"),
        ({"metrics": {"cider": {"value": "0.5"}}, "baselines": {}}, "cider"),
        ({"metrics": {"cider": {"value": 1.0, "ci95": [2, 1]}}, "baselines": {}}, "cider.ci95"),
        ({"baselines": {"chance": {"cidre": 0.1}}}, "cidre"),
        ({"baselines": {"chance": {"cider": float("inf")}}}, "chance"),
        ({"n_scored": 9}, "n_scored 9"),
        ({"data": {"name": "bricks", "version": 2}}, "split_file_sha256"),
        ({"baseline_pool": {"used": 1000}}, "baseline_pool"),
        ({"n_scored": 0, "n_expected": 0}, "n_scored 0"),
    ],
)
def test_a_record_that_would_mislead_is_refused(change, named):
    with pytest.raises(EvaluationError, match=named):
        build_metrics_record(**{**ARGUMENTS, **change})


def test_a_smaller_n_needs_the_names_of_the_skipped_items():
    record = build_metrics_record(**{**ARGUMENTS, "n_scored": 9, "skipped": ["3001"]})
    assert record["skipped"] == ["3001"]


def test_data_version_pool_and_claims_are_part_of_the_record():
    parts = {
        "claims": {"cider": np.int64(10)},
        "comparisons": {
            "cider": {"nearest": {"difference": 0.1, "ci95": (0, 1), "p_value": 0.5, "n": 10}}
        },
        "data": {"name": "bricks", "version": 2, "split_file_sha256": "ab"},
        "baseline_pool": {"used": 1000, "whole": 4700},
        "alteration": "box_shell",
    }
    record = build_metrics_record(**ARGUMENTS, **parts)
    assert record["claims"] == {"cider": 10}
    assert record["comparisons"]["cider"]["nearest"]["ci95"] == [0, 1]
    assert {key: record[key] for key in ("data", "baseline_pool", "alteration")} == {
        key: parts[key] for key in ("data", "baseline_pool", "alteration")
    }
    plain = build_metrics_record(**ARGUMENTS)
    assert (plain["claims"], plain["comparisons"], plain["data"]) == ({}, {}, None)


def test_a_record_of_another_schema_version_is_refused_with_the_next_step():
    record = build_metrics_record(**ARGUMENTS)
    assert checked_record(record, Path("new.json")) is record
    old = {**record, "schema_version": 1}
    with pytest.raises(
        EvaluationError, match=r"old\.json(.|\n)*schema_version 1(.|\n)*evaluate again"
    ):
        checked_record(old, Path("old.json"))
    with pytest.raises(EvaluationError, match="not a metrics record"):
        checked_record({"task": "x"}, Path("odd.json"))


def test_ids_are_checked_by_name():
    validate_ids(["a", "b"], [{"image_id": "b"}, {"image_id": "a"}], "image_id")
    records = [{"image_id": i} for i in ("a", "a", "x")]
    with pytest.raises(EvaluationError) as error:
        validate_ids([*"abcdefgh"], records, "image_id")
    message = str(error.value)
    assert "7 missing: 'b', 'c', 'd', 'e', 'f' and 2 more" in message
    assert "1 duplicate: 'a'" in message
    assert "1 unexpected: 'x'" in message
    with pytest.raises(EvaluationError, match="1 records have no 'image_id'"):
        validate_ids(["a"], [{"id": "a"}], "image_id")


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), object(), {"a": {1, 2}}])
def test_unwritable_json_leaves_the_old_file_and_no_rubbish(tmp_path, bad):
    path = write_json_atomic(tmp_path / "metrics.json", {"old": True})
    with pytest.raises(EvaluationError, match=r"metrics\.json"):
        write_json_atomic(path, {"score": bad})
    assert json.loads(path.read_text()) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = write_json_atomic(tmp_path / "metrics.json", {"old": True})

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lavis.common.files.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_json_atomic(path, {"new": True})
    assert json.loads(path.read_text()) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


def test_config_hash_depends_on_values_and_not_on_order():
    first = config_hash({"run": {"lr": 1e-4, "seed": 1}, "model": "x"})
    assert first == config_hash({"model": "x", "run": {"seed": 1, "lr": 1e-4}})
    assert first != config_hash({"model": "x", "run": {"seed": 2, "lr": 1e-4}})
    assert len(first) == 64
    with pytest.raises(EvaluationError):
        config_hash({"callback": object()})


def test_file_hash_is_sha256(tmp_path):
    (tmp_path / "weights").write_bytes(b"abc")
    assert file_sha256(tmp_path / "weights").startswith("ba7816bf8f01cfea")


def test_git_commit_names_a_dirty_checkout_and_is_none_outside_git(tmp_path):
    assert git_commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "first"], ["tag", "v1"]):
        subprocess.run([*git, *command], check=True)
    commit = git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"


def test_the_test_final_log_alone_leaves_a_checkout_clean(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    log = tmp_path / "docs" / "test_final_log.jsonl"
    log.parent.mkdir()
    log.write_text("")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    log.write_text("{}\n")
    assert len(git_commit(tmp_path)) == 40


def test_one_item_has_scores_and_no_intervals() -> None:
    record = build_metrics_record(
        task="t",
        split="test",
        metrics={"top_1": {"value": 1.0, "ci95": [1.0, 1.0]}},
        baselines={},
        n_expected=1,
        n_scored=1,
        config_hash=None,
        git_commit=None,
        seed=1,
        checkpoint_hash=None,
    )
    assert record["metrics"]["top_1"] == {"value": 1.0, "ci95": None}
    assert "ci95" in record["extra"]["unavailable"]
