"""The picture of rooms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lavis.datasets.download_scripts.rooms.picture import TILE, class_colors, from_above, main
from tests.datasets.download_scripts.rooms.box_furniture import prepare_small


def test_a_row_per_room(tmp_path: Path) -> None:
    folder, out = prepare_small(tmp_path / "rooms"), tmp_path / "rooms.png"
    main(["--folder", str(folder), "--rooms", "train_0000", "test_0000", "--out", str(out)])
    with Image.open(out) as picture:
        width, height = picture.size
    assert 2 * TILE <= height < 2 * TILE + 20
    assert width > 5 * TILE


def test_the_highest_point_is_seen_from_above() -> None:
    points = {"xyz": np.array([[0.0, 2.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.5]])}
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    image = from_above(points, colors, 100.0)
    assert image[TILE // 2, TILE // 2].tolist() == [255, 0, 0]
    assert image[TILE // 2 + 50, TILE // 2 + 100].tolist() == [0, 0, 255]


def test_class_colours_differ() -> None:
    assert len({tuple(color) for color in class_colors(46).tolist()}) == 46
