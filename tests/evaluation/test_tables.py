"""The README's results table is generated and can be checked."""

import json

import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.records import build_metrics_record, write_json_atomic
from lavis.evaluation.tables import (
    format_value,
    main,
    results_tables,
    update_readme,
)

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def record(task, metrics, baselines, **extra):
    return build_metrics_record(
        task, "test", metrics, baselines, 7, 7, None, None, 1, None, extra=extra
    )


RETRIEVAL = record(
    "point_retrieval",
    {
        "recall_at_5": {"value": 0.4567, "ci95": [0.4, 0.5]},
        "median_rank": {"value": 12.0, "ci95": None},
    },
    {"chance": {"recall_at_5": 0.0071}},
)
CAPTIONS = record(
    "point_captioning",
    {"cider": {"value": 1.234, "ci95": [1.1, 1.3]}, "spice": {"value": None, "ci95": None}},
    {"nearest_neighbour": {"cider": 0.9}, "random": {"cider": 0.1}},
    name="bricks_full",
)


@pytest.fixture
def project(tmp_path):
    """A README with the markers and one published result."""
    readme, results = tmp_path / "README.md", tmp_path / "docs" / "results"
    readme.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write_json_atomic(results / "bricks.json", [RETRIEVAL, CAPTIONS])
    return readme, results


def test_every_score_stands_beside_every_baseline():
    retrieval, captions, note = results_tables([RETRIEVAL, CAPTIONS]).split("\n\n")
    assert retrieval.splitlines() == [
        "| Run | Task | Split | n | Metric | Score [95% CI] | chance |",
        "| --- | --- | --- | ---: | --- | ---: | ---: |",
        "| – | point_retrieval | test | 7 | recall at 5 | **45.7** [40.0, 50.0] | 0.7 |",
        "| – | point_retrieval | test | 7 | median rank | 12 | – |",
    ]
    header, _, *rows = captions.splitlines()
    assert header == (
        "| Run | Task | Split | n | Metric | Score [95% CI] | nearest neighbour | random |"
    )
    # a metric without a value has no row
    assert rows == [
        "| bricks_full | point_captioning | test | 7 | cider | **123.4** [110.0, 130.0] | 90.0 | "
        "10.0 |"
    ]
    assert "times 100" in note


def test_readme_round_trip(project):
    readme, results = project
    assert not update_readme(readme, results, check=True)
    assert "old" in readme.read_text()
    assert not update_readme(readme, results)
    assert update_readme(readme, results, check=True)
    text = readme.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n| Run ")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "| bricks | point_retrieval |" in text


def test_command_line_reports_and_fails_when_out_of_date(project, capsys):
    readme, results = project
    arguments = ["--readme", str(readme), "--results", str(results)]
    assert main([*arguments, "--check"]) == 1
    assert "out of date" in capsys.readouterr().out
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0


def test_a_readme_without_markers_or_a_bad_result_is_refused(project, capsys):
    readme, results = project
    (results / "odd.json").write_text(json.dumps({"task": "x", "schema_version": 99}))
    with pytest.raises(EvaluationError, match=r"odd\.json"):
        update_readme(readme, results)
    (results / "odd.json").write_text("{")
    assert main(["--readme", str(readme), "--results", str(results)]) == 1
    assert "odd.json" in capsys.readouterr().err
    (results / "odd.json").unlink()
    readme.write_text("# no markers")
    with pytest.raises(EvaluationError, match="results:begin"):
        update_readme(readme, results)


def test_no_results_yet_is_said(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}{END}")
    update_readme(readme, tmp_path / "nothing")
    assert "No published results yet" in readme.read_text()


def test_a_metric_with_a_direction_keeps_its_scale():
    assert format_value("text_to_object/recall_at_5", 0.4567) == "45.7"
    assert format_value("object_to_text/median_rank", 9.0) == "9"
    assert format_value("object_to_text_ptc/mean_average_precision", 0.25) == "25.0"
    assert format_value("exact_match/color", 0.5) == "50.0"
    assert format_value("text_to_object/mean_rank", 8.865) == "8.87"


def test_the_readme_has_a_table_for_each_task_with_its_own_baselines():
    metrics = {
        "object_to_text/recall_at_5": {"value": 0.5, "ci95": None},
        "object_to_text_ptc/recall_at_5": {"value": 0.4, "ci95": None},
    }
    both = record("point_retrieval", metrics, {"chance": {"object_to_text/recall_at_5": 0.01}})
    text = results_tables([both, CAPTIONS], headlines=True)
    first, second, _ = text.split("\n\n")
    assert "chance" in first
    assert "nearest neighbour" not in first
    assert "recall at 5 | 50.0 | 1.0 |" in first
    assert "ptc" not in first
    assert "nearest neighbour" in second


def test_figures_of_a_projector_keep_their_own_scale():
    assert format_value("generative/centroid_distance", 0.44) == "0.44"
    assert format_value("contrastive/nearest_text_accuracy", 0.17) == "17.0"
