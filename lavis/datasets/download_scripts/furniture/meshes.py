"""A furniture model as triangles at its real size, and its colours at any point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lavis.common.errors import DataError
from lavis.datasets.convert.mesh import Part, joined, paint_points
from lavis.datasets.convert.mesh_files import read_mesh
from lavis.datasets.download_scripts.furniture.catalogue import Model
from lavis.datasets.readers.files import DAMAGE
from lavis.datasets.surface import SurfacePoints

UNKNOWN = 0.6  # grey of materials without colour


@dataclass(frozen=True)
class SizedMesh:
    """Base at y = 0, the box centred about x = z = 0, front +z.

    Attributes:
        vertices: float64 [V,3], metres.
        faces: int64 [F,3].
        parts: of the file, with their paint.
    """

    vertices: np.ndarray
    faces: np.ndarray
    parts: list[Part]

    def colors(self, points: SurfacePoints) -> np.ndarray:
        """Return colours of points on the mesh, float [P,3] in [0,1]."""
        rgb = paint_points(self.parts, points, UNKNOWN)
        return np.full(points.xyz.shape, UNKNOWN) if rgb is None else rgb


def read_model(folder: str | Path, model: Model) -> SizedMesh:
    """Return a model at the size of the catalogue.

    Args:
        folder: of `prepare_models`.
        model: of its catalogue.

    Raises:
        DataError: the file cannot be read.
    """
    path = Path(folder) / model.object_id / model.file
    try:
        mesh = read_mesh(path, path.parent)
        if mesh is None:
            raise ValueError("no faces")
        vertices, faces = joined(mesh.parts)
    except DAMAGE as error:
        what = "a furniture model cannot be read"
        raise DataError(what, where=str(path), got=repr(error)) from error
    return SizedMesh(fit(vertices, model), faces, mesh.parts)


def fit(vertices: np.ndarray, model: Model) -> np.ndarray:
    """Return vertices [V,3] of a file turned to our axes and scaled to the model's box."""
    turn = np.eye(3) if model.rotation is None else np.reshape(model.rotation, (3, 3))
    turned = vertices @ turn.T
    low, high = turned.min(0), turned.max(0)
    base = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return (turned - base) * (np.array(model.size) / np.maximum(high - low, 1e-12))
