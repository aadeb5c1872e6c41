"""A small real preparation of the bricks, made once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import lavis  # noqa: F401  (registers roots and builders)
from lavis.datasets.download_scripts import bricks_meshes
from lavis.datasets.download_scripts.prepare_bricks import prepare_bricks, select_parts

SMALL = 120


@pytest.fixture(scope="session")
def small_bricks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 real parts at 128 points. Tests must not change it."""
    folder = tmp_path_factory.mktemp("bricks") / "bricks"
    return prepare_bricks(folder, num_points=128, limit=SMALL, progress=False)


@pytest.fixture(scope="session")
def all_parts() -> list[dict[str, str]]:
    """Every part that stays, with the hash of its stored mesh as geometry (nothing is decoded)."""
    package = bricks_meshes.package_folder()
    parts, _ = select_parts(*bricks_meshes.read_catalogue(package), limit=None)
    by_category: dict[str, list[dict[str, str]]] = {}
    for part in parts:
        by_category.setdefault(part["category"], []).append(part)
    for category, members in by_category.items():
        with bricks_meshes.open_category(package, category) as archive:
            for part in members:
                frame = archive.read(f"{part['object_id']}.drc")
                part["geometry"] = hashlib.sha1(frame).hexdigest()
    return parts
