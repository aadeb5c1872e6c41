"""A share of the training samples comes without a size."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.datasets.datasets.point_text_datasets import PointTextDataset

COUNT = 200


@pytest.fixture
def annotation(tmp_path: Path) -> Path:
    path = tmp_path / "train.json"
    path.write_text(json.dumps([{"object_id": f"o{k}", "caption": "a part"} for k in range(COUNT)]))
    return path


def as_tensor(cloud: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(cloud)


def build(annotation: Path, size_drop: float, seed: int = 0) -> PointTextDataset:
    cloud = np.array([[0, 0, 0], [1, 2, 0]], np.float32)
    store = SimpleNamespace(load=lambda object_id: cloud, scale=lambda object_id: 3.0)
    return PointTextDataset(
        as_tensor,
        str,
        store,  # type: ignore[arg-type]
        [annotation],
        seed=seed,
        size_drop=size_drop,
    )


def withheld(dataset: PointTextDataset) -> list[bool]:
    boxes = torch.stack([dataset[k]["box_size"] for k in range(COUNT)])
    assert torch.equal(boxes.isnan().any(1), boxes.isnan().all(1))
    return boxes.isnan().all(1).tolist()


def test_no_size_is_withheld_by_default(annotation: Path) -> None:
    assert not any(withheld(build(annotation, 0.0)))
    assert build(annotation, 0.0)[0]["box_size"].tolist() == [3, 6, 0]


def test_the_share_is_kept_and_depends_on_seed_and_epoch(annotation: Path) -> None:
    dataset = build(annotation, 0.25)
    first = withheld(dataset)
    assert sum(first) / COUNT == pytest.approx(0.25, abs=0.09)
    assert withheld(build(annotation, 0.25)) == first
    dataset.set_epoch(1)
    assert withheld(dataset) != first
    assert withheld(build(annotation, 0.25, seed=1)) != first
    assert all(withheld(build(annotation, 1.0)))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_zero_and_one_is_refused(annotation: Path, share: float) -> None:
    with pytest.raises(ConfigError, match="size_drop"):
        build(annotation, share)
