"""test-final is scored with a reason, from a committed tree, and every time written down."""

import json
import subprocess
from types import SimpleNamespace

import pytest
from lavis.common.registry import registry
from omegaconf import OmegaConf

from lavis.common.errors import ConfigError, EvaluationError
from lavis.evaluation.test_final import LOG, append_line, check_test_final, log_line
from lavis.tasks.point_qa import PointQATask

GIT = ("-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.fixture
def checkout(tmp_path):
    """A clean checkout with an empty log."""
    root = tmp_path / "checkout"
    (root / "docs").mkdir(parents=True)
    (root / LOG).write_text("")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(root), *GIT, *command], check=True)
    return root


def run_section(**keys):
    defaults = {"evaluate": True, "train_splits": ["train"], "test_splits": ["test"]}
    return OmegaConf.create({**defaults, "test_final_reason": None, **keys})


def splits(**members):
    """Data sets of one record each, by the `split` of the record."""
    return {
        "bricks": {
            name: SimpleNamespace(annotation=[{"question_id": "q1"}, {"split": split}])
            for name, split in members.items()
        }
    }


def test_other_splits_are_free(checkout):
    datasets = splits(train="train", test="dev_test", unused="test_final")
    check_test_final(datasets, run_section(), checkout)
    check_test_final(datasets, run_section(evaluate=False), checkout)


@pytest.mark.parametrize("key", ["test_splits", "valid_splits"])
@pytest.mark.parametrize("named", [{"test": "test_final"}, {"test_final": "unknown"}])
def test_scoring_needs_a_reason_whatever_the_split_is_called(checkout, key, named):
    section = run_section(**{"test_splits": [], key: list(named)})
    with pytest.raises(ConfigError, match=rf"bricks/{next(iter(named))}(.|\n)*--test-final"):
        check_test_final(splits(**named), section, checkout)
    section.test_final_reason = "final table"
    check_test_final(splits(**named), section, checkout)


@pytest.mark.parametrize("key", ["train_splits", "valid_splits", "test_splits"])
def test_training_never_touches_it(checkout, key):
    section = run_section(evaluate=False, **{key: ["a"]}, test_final_reason="even so")
    with pytest.raises(ConfigError, match="training run uses test-final"):
        check_test_final(splits(a="test_final"), section, checkout)


def test_a_reason_without_test_final_is_refused(checkout):
    with pytest.raises(ConfigError, match="no evaluated split holds test-final"):
        check_test_final(splits(test="dev_test"), run_section(test_final_reason="why"), checkout)


def test_uncommitted_changes_are_refused_but_the_log_may_have_new_lines(checkout, tmp_path):
    section, datasets = run_section(test_final_reason="final table"), splits(test="test_final")
    append_line(checkout / LOG, {"a": 1})
    check_test_final(datasets, section, checkout)
    with pytest.raises(ConfigError, match="no git checkout"):
        check_test_final(datasets, section, tmp_path)
    (checkout / "code.py").write_text("1")
    subprocess.run(["git", "-C", str(checkout), "add", "code.py"], check=True)
    with pytest.raises(ConfigError, match="uncommitted changes"):
        check_test_final(datasets, section, checkout)


def test_lines_are_appended_whole_and_a_torn_one_is_closed(tmp_path):
    path = tmp_path / "docs" / "log.jsonl"
    for number in range(2):
        append_line(path, log_line(f"reason {number}: ü", "abc", "x.yaml", "job", "m.json"))
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert set(first) == {"date", "commit", "recipe", "job", "metrics_file", "reason"}
    assert first["date"].endswith("+00:00")
    assert second["reason"] == "reason 1: ü"
    with open(path, "a") as stream:
        stream.write('{"torn')
    append_line(path, {"a": 1})
    assert path.read_text(encoding="utf-8").splitlines()[2:] == ['{"torn', '{"a": 1}']
    with pytest.raises(EvaluationError, match="cannot be written"):
        append_line(tmp_path, {"a": 1})


class Questions:
    """One question of test-final."""

    annotation = [{"question_id": "q1", "split": "test_final"}]  # noqa: RUF012

    def train_annotation(self):
        return [{"family": "color", "answer": "red"}]


@pytest.fixture
def score(checkout, tmp_path, monkeypatch):
    """Return a function that scores the question and returns the folder of the results."""
    monkeypatch.setitem(registry.mapping["paths"], "repo_root", str(checkout))
    runner = SimpleNamespace(
        result_dir=tmp_path / "job" / "result",
        evaluate_only=True,
        evaluated_checkpoint=None,
        unwrapped_model=SimpleNamespace(loaded_checkpoint=None),
        config=SimpleNamespace(to_dict=dict, cfg_path="eval/qa.yaml"),
    )
    answered = {"question_id": "q1", "object_id": "1", "question": "?", "family": "color"}

    def run():
        task = PointQATask(OmegaConf.create({"seed": 1, "test_final_reason": "final table"}))
        records = [{**answered, "answer": "red", "prediction": "red"}]
        task.after_evaluation(records, "any_name", "best", Questions(), None, runner)

    return run


def test_scoring_appends_a_line_that_names_commit_recipe_job_and_reason(score, checkout, tmp_path):
    score()
    score()
    first, second = map(json.loads, (checkout / LOG).read_text().splitlines())
    metrics = tmp_path / "job" / "result" / "any_name_metrics.json"
    record = json.loads(metrics.read_text())
    # the line that the first evaluation wrote leaves the second one clean
    assert first["commit"] == second["commit"] == record["git_commit"]
    assert len(first["commit"]) == 40
    assert (first["recipe"], first["reason"]) == ("eval/qa.yaml", "final table")
    assert (first["job"], first["metrics_file"]) == (str(tmp_path / "job"), str(metrics))


def test_without_a_log_there_are_no_results(score, checkout, tmp_path):
    (checkout / LOG).unlink()
    (checkout / LOG).mkdir()
    with pytest.raises(EvaluationError, match="log cannot be written"):
        score()
    assert not (tmp_path / "job").exists()
