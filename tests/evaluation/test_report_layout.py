"""The report finds the results of one launch of several evaluations."""

from __future__ import annotations

import pytest

from lavis.evaluation.records import build_metrics_record, write_json_atomic
from lavis.evaluation.report.run_folder import load_run


@pytest.fixture
def launch(tmp_path, table_records):
    """Write the results of a named classification on a split; return the run's folder."""

    def save(name, split, value):
        entries = [{"instance_id": "a", "label": "x", "prediction": "x", "top_5": ["x"]}]
        metrics = {"top_1": {"value": value, "ci95": None}}
        record = build_metrics_record(
            "point_classification",
            split,
            metrics,
            {"chance": {"top_1": 0.5}},
            1,
            1,
            "c0ffee" * 10,
            "1234567890abcdef",
            42,
            None,
            {},
            data=table_records.BRICKS,
        )
        folder = tmp_path / "scores_stage1" / "result"
        write_json_atomic(folder / f"{name}.json", entries)
        write_json_atomic(folder / f"{name}_metrics.json", record)
        return tmp_path

    return save


def test_a_shared_job_is_read_by_the_split_of_its_metrics(launch):
    launch("classification_held_out", "held_out", 0.25)
    run = launch("classification", "dev_test", 0.75)
    results, notes = load_run(run)
    assert [result.kind.folder for result in results] == ["classification"]
    assert results[0].record["metrics"]["top_1"]["value"] == 0.75
    assert results[0].controls == ()
    assert len(notes) == 3


def test_another_split_is_not_taken_for_the_one_asked(launch):
    run = launch("classification", "dev_test", 0.75)
    with pytest.raises(Exception, match="no results to report"):
        load_run(run, split="test")
