"""Items of rooms: furniture at its size with its textures' colours, and parts of the bricks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.bricks_split import read_frozen
from lavis.datasets.download_scripts.furniture.catalogue import read_models
from lavis.datasets.download_scripts.furniture.splits import read_splits
from lavis.datasets.download_scripts.rooms import sources
from lavis.datasets.download_scripts.rooms.classes import BRICK, HELD_OUT
from lavis.datasets.download_scripts.rooms.items import Catalogue, Item, ItemMesh
from lavis.datasets.download_scripts.rooms.model_mesh import MAX_EDGE, furniture_mesh
from tests.datasets.download_scripts.furniture_tree import GREEN, RED, write_models
from tests.datasets.download_scripts.rooms.box_furniture import box_catalogue


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models") / "furniture_models")


@pytest.fixture(scope="module")
def catalogue(models: Path) -> Catalogue:
    return sources.open_catalogue(models)


def test_furniture_keeps_its_split_class_and_size(catalogue: Catalogue, models: Path) -> None:
    places, known = read_splits(), read_models(models)
    furniture = [item for item in catalogue.items if item.source == "furniture"]
    assert {item.label for item in furniture} >= {"chair", "table", "piano"}
    for item in furniture:
        assert item.split == places[item.object_id].split
        assert item.size == known[item.object_id].size
        assert (item.label in HELD_OUT) == (item.split == "held_out")
        triangles = catalogue.mesh(item).triangles
        low, high = triangles.min((0, 1)), triangles.max((0, 1))
        np.testing.assert_allclose(high - low, item.size, atol=1e-5)
        assert low[1] == pytest.approx(0, abs=1e-6)


def test_textures_become_colours_of_small_triangles(models: Path) -> None:
    model = next(iter(read_models(models).values()))
    mesh = furniture_mesh(models, model)
    on_top = mesh.triangles[:, :, 1].min(1) > model.size[1] - 1e-4
    edges = np.linalg.norm(np.roll(mesh.triangles, -1, axis=1) - mesh.triangles, axis=2)
    assert edges[on_top].max() <= MAX_EDGE + 1e-6
    assert edges[~on_top].max() > MAX_EDGE  # plain sides stay as they are
    assert len(mesh.triangles[~on_top]) == 10
    seen = {tuple(color) for color in mesh.colors[on_top].tolist()}
    assert {RED, GREEN} <= seen
    assert (mesh.colors[~on_top] == [0, 0, 255]).all()
    u, v = (mesh.triangles[:, k] - mesh.triangles[:, 0] for k in (1, 2))
    area = np.linalg.norm(np.cross(u, v), axis=1)[on_top].sum() / 2
    assert area == pytest.approx(model.size[0] * model.size[2], rel=1e-4)  # nothing is lost


def test_bricks_are_enlarged_parts_of_the_open_splits(catalogue: Catalogue) -> None:
    frozen = read_frozen()
    bricks = [item for item in catalogue.items if item.label == BRICK]
    assert {item.split for item in bricks} == {"train", "val", "test"}
    for item in bricks:
        own = {"train": "train", "val": "val", "test": "dev_test"}[item.split]
        assert frozen[item.object_id].split == own  # never the locked one
        assert sources.BRICK_SIDES[0] <= min(item.size) <= max(item.size) <= sources.BRICK_SIDES[1]
    mesh = catalogue.mesh(bricks[0])
    assert len(np.unique(mesh.colors, axis=0)) == 1
    np.testing.assert_allclose(np.ptp(mesh.triangles, axis=(0, 1)), bricks[0].size, atol=1e-5)


def test_a_class_of_many_models_is_not_preferred() -> None:
    items = [Item(f"c{n}", "chair", "chair", (1, 1, 1), "train") for n in range(99)]
    items.append(Item("bed", "bed", "bed", (1, 1, 1), "train"))
    catalogue, rng = (
        Catalogue(items, lambda item: box_catalogue().mesh(item)),
        np.random.default_rng(0),
    )
    drawn = [catalogue.pick(rng, "chair", "bed", "sofa") for _ in range(200)]
    assert 60 < sum(item is not None and item.label == "bed" for item in drawn) < 140
    assert catalogue.pick(rng, "sofa") is None


def test_a_mesh_without_triangles_is_refused() -> None:
    empty = ItemMesh(np.zeros((0, 3, 3), np.float32), np.zeros((0, 3), np.uint8))
    with pytest.raises(DataError, match="no usable mesh"):
        empty.fitted((1.0, 1.0, 1.0))
