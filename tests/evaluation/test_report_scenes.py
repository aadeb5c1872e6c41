"""A report of scene tasks: headline rows, pictures of every task, no notes about other tasks."""

from __future__ import annotations

import pytest

from lavis.evaluation.report.headlines import headlines
from lavis.evaluation.report.page import render
from lavis.evaluation.report.run_folder import load_run
from lavis.tasks.point_detection import PointDetectionTask
from lavis.tasks.point_segmentation import PointSegmentationTask
from tests.tasks.scene_toys import Oracle, Scenes, evaluate


@pytest.fixture
def run(tmp_path):
    for name, task in {
        "segmentation": PointSegmentationTask,
        "detection": PointDetectionTask,
    }.items():
        folder = tmp_path / name / "result"
        folder.mkdir(parents=True)
        evaluate(task, folder, Scenes(), Oracle(wrong=0.2), pictures=2)
    return tmp_path


def test_scores_are_shown_times_100_with_the_strongest_baseline(run):
    results, notes = load_run(run)
    assert notes == []
    rows = {row.metric: row for row in headlines(results)}
    assert rows["mAP@0.25"].score == "100.0"
    assert rows["scene miou"].verdict in ("level", "below")  # colours tell these classes apart
    assert rows["mIoU"].strongest == "color height histogram: 100.0"


def test_every_task_has_its_own_rotatable_scenes(run):
    page = render(load_run(run)[0], lambda name: None, name="run")
    names = ["segmentation a: true labels", "segmentation b: predicted labels"]
    names += ["detection a: annotated boxes", "detection b: predicted boxes"]
    assert all(page.count(f'data-cloud="{name}"') == 1 for name in names)
    assert all(f'"{name}": {{"points"' in page for name in names)
    assert 'id="segmentation"' in page
    assert " style=" not in page


def test_a_run_without_pictures_has_no_canvas(tmp_path):
    folder = tmp_path / "segmentation" / "result"
    folder.mkdir(parents=True)
    evaluate(PointSegmentationTask, folder, Scenes(), Oracle(), pictures=0)
    assert "<canvas" not in render(load_run(tmp_path)[0], lambda name: None, name="run")
