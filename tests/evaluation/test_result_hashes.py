"""Files of two evaluations are never read as one."""

import json
import subprocess

import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.result_hashes import check_hashes
from lavis.tasks.point_task import Scores, write_results


@pytest.fixture
def written(tmp_path):
    """Predictions, metrics and per-item values of one evaluation."""
    scores = Scores(metrics={}, baselines={}, agg_metrics=0.0)
    scores.per_item = {"cider": {"a": 1.0, "b": 0.5}}
    return write_results(tmp_path, "test", [{"image_id": "a"}], {"split": "test"}, scores)


def test_files_of_one_evaluation_pass(written, tmp_path):
    check_hashes(tmp_path / "test_metrics.json")
    subprocess.run(["sha256sum", "-c", "test.sha256"], cwd=tmp_path, check=True)
    assert {path.name for path in written} == {
        *("test.json", "test_metrics.json", "test_items.json", "test.sha256")
    }


@pytest.mark.parametrize("name", ["test.json", "test_metrics.json", "test_items.json"])
def test_a_file_of_another_evaluation_is_named(written, tmp_path, name):
    path = tmp_path / name
    path.write_text(json.dumps(json.loads(path.read_text())))  # equal content, other bytes
    with pytest.raises(EvaluationError, match=name):
        check_hashes(tmp_path / "test_metrics.json")


def test_results_without_hashes_are_read(written, tmp_path):
    (tmp_path / "test.sha256").unlink()
    (tmp_path / "test.json").write_text("[]")
    check_hashes(tmp_path / "test_metrics.json")
