"""Left becomes right in the cloud and in the words, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lavis.datasets.datasets.point_text_datasets import PointQADataset
from lavis.datasets.sources.bricks_mirror import (
    Mirror,
    MirrorPointLoader,
    mirror_cloud,
    mirror_entry,
    mirror_text,
)
from lavis.datasets.stores.point_stores import FilePointStore
from lavis.processors.point_processors import PointEvalProcessor

COUNT = 60


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wing 3 x 12 Left", "Wing 3 x 12 Right"),
        ("a red wing right with left stud", "a red wing left with right stud"),
        ("is it right-handed, left or right?", "is it left-handed, right or left?"),
        ("pin with right angle", "pin with right angle"),
        ("right-angle bracket, RIGHT ANGLE", "right-angle bracket, RIGHT ANGLE"),
        ("upright bright cleft", "upright bright cleft"),
        ("plate 2 x 4", "plate 2 x 4"),
    ],
)
def test_sides_are_exchanged(text: str, expected: str) -> None:
    assert mirror_text(text) == expected
    assert mirror_text(expected) == text


def test_a_record_changes_where_it_speaks_of_the_object() -> None:
    entry = {"object_id": "left", "question": "left or right?", "answer": "left", "family": "hand"}
    mirrored = mirror_entry(entry)
    assert mirrored == entry | {"question": "right or left?", "answer": "right"}
    assert entry["answer"] == "left"


def test_a_cloud_is_reflected_in_x() -> None:
    cloud = np.random.default_rng(0).random((5, 6), dtype=np.float32)
    mirrored = mirror_cloud(cloud)
    np.testing.assert_array_equal(mirrored[:, 0], -cloud[:, 0])
    np.testing.assert_array_equal(mirrored[:, 1:], cloud[:, 1:])
    np.testing.assert_array_equal(mirror_cloud(mirrored), cloud)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Handed objects with one question each."""
    rng = np.random.default_rng(0)
    for row in range(COUNT):
        np.save(tmp_path / f"o{row}.npy", rng.random((32, 6), dtype=np.float32))
    entries = [
        {"question_id": f"q{n}", "object_id": f"o{n}", "question": "which side?", "answer": "left"}
        for n in range(COUNT)
    ]
    (tmp_path / "qa.json").write_text(json.dumps(entries))
    return tmp_path


def build(folder: Path, probability: float) -> PointQADataset:
    processor = PointEvalProcessor.from_config({"num_points": 32, "normalize": False})
    return PointQADataset(
        *(processor, str.lower, FilePointStore(folder), [folder / "qa.json"]),
        steps=[Mirror(probability)],
        point_loader=MirrorPointLoader,
    )


def test_cloud_and_answer_change_together(questions: Path) -> None:
    plain, mirrored = build(questions, 0.0), build(questions, 1.0)
    for row in range(3):
        assert (plain[row]["answer"], mirrored[row]["answer"]) == ("left", "right")
        flip = torch.tensor([-1.0, 1, 1, 1, 1, 1])
        torch.testing.assert_close(mirrored[row]["point_cloud"], plain[row]["point_cloud"] * flip)
        torch.testing.assert_close(mirrored[row]["box_size"], plain[row]["box_size"])


def test_the_share_is_kept_and_follows_the_epoch(questions: Path) -> None:
    dataset = build(questions, 0.5)
    drawn = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        drawn.append([dataset[row]["answer"] for row in range(COUNT)])
    assert drawn[0] == drawn[2] != drawn[1]
    assert 0.25 < drawn[0].count("right") / COUNT < 0.75
