"""A small real preparation of the bricks, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

import lavis  # noqa: F401  (registers roots and builders)
from lavis.datasets.download_scripts import bricks_meshes
from lavis.datasets.download_scripts.bricks_qa import footprint
from lavis.datasets.download_scripts.bricks_split import read_frozen
from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks, select_parts

SMALL = 120


@pytest.fixture(scope="session")
def small_bricks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 real parts at 128 points. Tests must not change it."""
    folder = tmp_path_factory.mktemp("bricks") / "bricks"
    return prepare_bricks(folder, num_points=128, limit=SMALL, progress=False)


@pytest.fixture(scope="session")
def all_parts() -> list[dict[str, str]]:
    """Every part that stays, with the geometry that the split file has of it."""
    package = bricks_meshes.package_folder()
    parts, _ = select_parts(*bricks_meshes.read_catalogue(package), limit=None)
    frozen = read_frozen()
    return [{**part, "geometry": frozen[part["object_id"]].geometry} for part in parts]


@pytest.fixture(scope="session")
def boxes(all_parts) -> dict[str, list[float]]:
    """A box for every part: as described where there is a footprint, else one stud."""
    sizes = {part["object_id"]: footprint(part["description"]) or (1, 1) for part in all_parts}
    return {part: [float(a), 1.0, float(b)] for part, (a, b) in sizes.items()}
