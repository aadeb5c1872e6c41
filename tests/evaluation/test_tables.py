"""README.md and docs/results.md are generated from the records and can be checked."""

import json

import pytest

from lavis.common.errors import EvaluationError
from lavis.evaluation.formatting import format_difference, format_value
from lavis.evaluation.full_tables import full_tables
from lavis.evaluation.run_records import load_records
from lavis.evaluation.summary_table import NO_CLAIMS, summary
from lavis.evaluation.systems_table import systems_table
from lavis.evaluation.tables import main, update_tables

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


@pytest.fixture
def retrieval(table_records):
    """A record without claims."""
    metrics = {
        "text_to_object/recall_at_5": {"value": 0.4567, "ci95": [0.4, 0.5]},
        "text_to_object/median_rank": {"value": 12.0, "ci95": None},
    }
    chance = {"chance": {"text_to_object/recall_at_5": 0.0071}}
    return table_records.record("point_retrieval", metrics, chance)


@pytest.fixture
def project(table_records, retrieval, tmp_path):
    """Both files with markers, a run with a control and seeds, a run without claims."""
    for name in ("README.md", "results.md"):
        (tmp_path / name).write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    results = tmp_path / "results"
    control = table_records.captioning(0.402, split="dev_test_box_shell", alteration="box_shell")
    parts = {
        "baseline_pool": {"used": 1000, "whole": 4700},
        "commit": f"{table_records.COMMIT}-dirty",
    }
    table_records.write(
        results,
        bricks_captioning=[
            table_records.captioning(extra={"text": "description"}, **parts),
            control,
        ],
        bricks_retrieval=retrieval,
    )
    table_records.write(
        results / "seeds" / "bricks_captioning",
        **{"1": table_records.captioning(0.9), "2": table_records.captioning(1.1)},
    )
    return tmp_path


def update(project, **options):
    return update_tables(
        project / "README.md", project / "results.md", project / "results", **options
    )


def command(project, *more):
    paths = ("--readme", "README.md", "--details", "results.md", "--results", "results")
    return main([p if p.startswith("--") else str(project / p) for p in paths] + list(more))


def test_each_claim_has_a_row_with_its_strongest_baseline(project):
    table, note, counts = summary(load_records(project / "results")).split("\n\n")
    assert table.splitlines()[2:] == [
        "| bricks_captioning (uncommitted changes) | captioning (dev test) | description | cider "
        "| 7 | **95.3** [75.3, 115.3] | 100.0 ± 14.1 (2 seeds) | nearest box: 133.4 (1000 of 4700) "
        "| -38.1 [-76.7, -1.2] | below |"
    ]
    assert "Holm's correction over 1 claims" in note
    assert counts == (
        "Of 1 claims against the strongest baseline, the model is above in 0, level in 0 and below "
        "in 1."
    )


def test_a_table_in_which_all_win_says_so(table_records, retrieval, tmp_path):
    table_records.write(
        tmp_path,
        good=table_records.captioning(2.0, difference=table_records.paired(0.7, 0.5, 0.9, 0.0001)),
    )
    assert "above in 1, level in 0 and below in 0." in summary(load_records(tmp_path))
    table_records.write(tmp_path, good=retrieval)
    assert summary(load_records(tmp_path)) == NO_CLAIMS


def test_full_tables_have_every_metric_baseline_and_control(project):
    parts = full_tables(load_records(project / "results")).split("\n\n")
    claims, _, note, _, title, captions, other, retrieval = parts
    assert (claims, title, other) == ("## Claims", "## Captioning", "## Retrieval")
    header, _, *rows = captions.splitlines()
    assert header.endswith("| chance caption | nearest box | Against the strongest baseline |")
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [
        *["bricks_captioning (uncommitted changes)"] * 2,
        *["control: box shell"] * 2,
    ]
    # the pool is marked at the baseline that used it; a metric without a value has no row
    assert "| 7.7 | 133.4 (1000 of 4700) | below nearest box, -38.1 [-76.7, -1.2] |" in rows[0]
    assert rows[1].endswith("| bleu 4 | 14.4 | 14.4 ± 0.0 (2 seeds) | – | – | – |")
    assert "**40.2** [20.2, 60.2]" in rows[2]
    assert rows[2].endswith("| 7.7 | 133.4 | – |")
    assert retrieval.splitlines()[3] == (
        "| bricks_retrieval | – | dev test | 7 | text to object/median rank | 12 | – | – | – |"
    )
    assert "times 100" in note


def test_the_readme_has_a_row_for_each_system(project, table_records):
    good = table_records.captioning(2.0, difference=table_records.paired(0.7, 0.5, 0.9, 0.0001))
    table_records.write(project / "results", demo_captioning=good)
    table, note, counts = systems_table(load_records(project / "results")).split("\n\n")
    header, _, *rows = table.splitlines()
    assert header.startswith("| System | Captioning, CIDEr | Answers without colour")
    assert rows == [
        "| bricks | **95.3**, 133.4, below | – | – | – | – | – |",
        "| PointBLIP, `make demo` | **200.0**, 133.4, above | – | – | – | – | – |",
    ]
    assert "strongest baseline" in note
    assert counts.endswith("the model is above in 1, level in 0 and below in 1.")


def test_scenes_have_a_table_of_their_own(project, table_records):
    def segmented(value, split):
        metrics = {"scene_miou": {"value": value, "ci95": [0.1, 0.9]}}
        against = {"scene_miou": {"chance": table_records.paired(0.5, 0.4, 0.6, 0.0001)}}
        return table_records.record(
            "point_segmentation",
            metrics,
            {"chance": {"scene_miou": 0.02}},
            split=split,
            claims=["scene_miou"],
            comparisons=against,
            data={"name": "rooms", "version": 1, "split_file_sha256": "cd" * 32},
        )

    rooms = [segmented(0.5, "test"), segmented(0.25, "held_out")]
    table_records.write(project / "results", text4point_segmentation=rooms)
    text = systems_table(load_records(project / "results"))
    objects, about, scenes, note, _ = text.split("\n\n")
    assert "Text4Point" not in objects
    assert about.startswith("Built-in rooms")
    assert scenes.splitlines()[2:] == [
        "| Text4Point, pre-trained on frames (encoder's loss) | **50.0**, 2.0, above "
        "| **25.0**, 2.0, above | – | – | – |"
    ]
    assert "strongest baseline" in note


def test_both_files_are_written_and_then_current(project):
    readme, details = project / "README.md", project / "results.md"
    assert update(project, check=True) == [readme, details]
    assert "old" in readme.read_text()
    assert update(project) == [readme, details]
    assert update(project, check=True) == []
    for path in (readme, details):
        assert path.read_text().startswith(f"# Title\n\n{BEGIN}\n")
        assert path.read_text().endswith(f"{END}\n\nafter\n")


def test_command_line_reports_and_fails_when_out_of_date(project, capsys):
    assert command(project, "--check") == 1
    assert "out of date" in capsys.readouterr().out
    assert command(project) == 0
    assert command(project, "--check") == 0


def test_a_bad_result_or_a_file_without_markers_is_refused_and_nothing_written(project, capsys):
    before = (project / "README.md").read_text()
    odd = project / "results" / "odd.json"
    odd.write_text(json.dumps({"task": "x", "schema_version": 1}))
    with pytest.raises(EvaluationError, match=r"odd\.json(.|\n)*evaluate again"):
        update(project)
    odd.write_text("{")
    assert command(project) == 1
    assert "odd.json" in capsys.readouterr().err
    odd.unlink()
    (project / "results.md").write_text("# no markers")
    with pytest.raises(EvaluationError, match="results:begin"):
        update(project)
    assert (project / "README.md").read_text() == before


def test_no_results_yet_is_said(project):
    for path in project.glob("results/**/*.json"):
        path.unlink()
    update(project)
    for name in ("README.md", "results.md"):
        assert "No published results yet" in (project / name).read_text()


def test_old_records_of_docs_are_kept_out_of_the_tables(repo_root):
    assert list((repo_root / "docs" / "results" / "v1").glob("*.json"))
    load_records(repo_root / "docs" / "results")


def test_a_metric_with_a_direction_keeps_its_scale():
    assert format_value("text_to_object/recall_at_5", 0.4567) == "45.7"
    assert format_value("object_to_text/median_rank", 9.0) == "9"
    assert format_value("object_to_text_ptc/mean_average_precision", 0.25) == "25.0"
    assert format_value("exact_match/color", 0.5) == "50.0"
    assert format_value("text_to_object/mean_rank", 8.865) == "8.87"
    assert format_value("vocabulary", 289.0) == "289"


def test_figures_of_a_projector_keep_their_own_scale():
    assert format_value("generative/centroid_distance", 0.44) == "0.44"
    assert format_value("contrastive/nearest_text_accuracy", 0.17) == "17.0"


def test_differences_have_a_sign_unless_they_round_to_zero():
    assert format_difference("cider", 0.08) == "+8.0"
    assert format_difference("cider", -0.08) == "-8.0"
    assert format_difference("cider", -0.0001) == "0.0"
