"""Frames of triangle meshes by first-hit ray casting on the CPU (Embree)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lavis.common.errors import DataError, DependencyError
from lavis.datasets.rendering.cameras import Camera
from lavis.datasets.surface import SurfacePoints

BACKGROUND = 255
AMBIENT = 0.35
# From the camera's upper left, so that the faces of a box differ. Right, down, forward.
LIGHT = np.array([-0.4, -0.6, -0.7]) / np.linalg.norm([0.4, 0.6, 0.7])


@dataclass(frozen=True)
class Mesh:
    """Triangles of one object or of a scene.

    Attributes:
        triangles: float32 [F,3,3], corners in the world.
        colors: float [F,3] in [0,1], or [3] for all.
        object_id: int [F], or 0 for all.
        paint: returns the colours [P,3] in [0,1] of points on the triangles, textures for example;
            takes the place of `colors`.
    """

    triangles: np.ndarray
    colors: np.ndarray
    object_id: np.ndarray | int = 0
    paint: Callable[[SurfacePoints], np.ndarray] | None = None

    def colors_at(self, points: SurfacePoints) -> np.ndarray:
        """Return the colours of points on the triangles: [P,3] in [0,1]."""
        if self.paint is not None:
            return self.paint(points)
        return np.broadcast_to(self.colors, (len(self.triangles), 3))[points.face]


@dataclass(frozen=True)
class Frame:
    """What a camera sees.

    Attributes:
        rgb: uint8 [H,W,3], shaded; white where nothing is.
        depth: float32 [H,W] along forward; infinite where nothing is.
        normal: float32 [H,W,3], unit, towards the camera, in the world; zero where nothing is.
        object_id: int32 [H,W]; -1 where nothing is.
    """

    rgb: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    object_id: np.ndarray

    def points(self, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """Return the seen points [N,3] in the world and their pixels [N,2], column and row."""
        seen = np.isfinite(self.depth)
        rows, columns = np.nonzero(seen)
        pixels = np.stack([columns, rows], 1)
        return camera.back_project(pixels + 0.5, self.depth[seen].astype(np.float64)), pixels


class RayCaster:
    """A mesh that is ready to be seen from many cameras.

    Args:
        mesh: its triangles.

    Raises:
        DataError: no triangle, or corners that are not finite.
        DependencyError: embreex is not installed.
    """

    def __init__(self, mesh: Mesh) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            fix = "pip install -r requirements.txt"
            raise DependencyError("rendering needs embreex", fix=fix) from error
        triangles = np.ascontiguousarray(mesh.triangles, dtype=np.float32)
        if triangles.shape[1:] != (3, 3) or not len(triangles) or not np.isfinite(triangles).all():
            got = f"shape {list(triangles.shape)}"
            what = "a mesh to be rendered needs triangles with finite corners"
            raise DataError(what, where="mesh", got=got, expected="[F,3,3]")
        self.mesh = mesh
        self._scene = EmbreeScene(robust=True)
        self._faces = TriangleMesh(self._scene, triangles)

    def render(self, camera: Camera) -> Frame:
        """Cast one ray through the centre of every pixel."""
        directions = camera.directions(camera.pixels())
        origins = np.broadcast_to(camera.position, directions.shape)
        hits = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            output=1,
        )
        face, hit = hits["primID"], hits["primID"] >= 0
        normal = np.where(hit[:, None], _unit(hits["Ng"].astype(np.float64)), 0.0)
        facing = np.sign(-(normal * directions).sum(1, keepdims=True))  # windings are arbitrary
        normal *= np.where(facing == 0, 1.0, facing)
        shape = (camera.height, camera.width)
        return Frame(
            self._shade(self._points(hits, hit), hit, normal, camera).reshape(*shape, 3),
            np.where(hit, hits["tfar"], np.inf).astype(np.float32).reshape(shape),
            normal.astype(np.float32).reshape(*shape, 3),
            self._ids(face, hit).reshape(shape),
        )

    def free_between(self, points: np.ndarray, viewpoint: np.ndarray) -> np.ndarray:
        """Return which points [N,3] nothing hides from a viewpoint [3]: bool [N]."""
        origins = np.ascontiguousarray(points, np.float32)
        towards = np.ascontiguousarray(viewpoint - points, np.float32)
        return self._scene.run(origins, towards, output=1)["tfar"] >= 1  # in lengths of `towards`

    def _points(self, hits: dict[str, np.ndarray], hit: np.ndarray) -> SurfacePoints:
        """Return where the rays that hit something do so."""
        face = hits["primID"][hit].astype(np.int64)
        weights = np.stack([hits["u"][hit], hits["v"][hit]], 1).astype(np.float64)
        a, b, c = self.mesh.triangles[face].transpose(1, 0, 2)
        return SurfacePoints(a + weights[:, :1] * (b - a) + weights[:, 1:] * (c - a), face, weights)

    def _shade(
        self, points: SurfacePoints, hit: np.ndarray, normal: np.ndarray, camera: Camera
    ) -> np.ndarray:
        """Return uint8 colours [P,3]: ambient light, and one lamp that moves with the camera."""
        lamp = np.clip(normal[hit] @ (LIGHT @ camera.rotation), 0, 1)
        shaded = self.mesh.colors_at(points) * (AMBIENT + (1 - AMBIENT) * lamp)[:, None]
        pixels = np.full((len(hit), 3), BACKGROUND, np.uint8)
        pixels[hit] = np.rint(255 * np.clip(shaded, 0, 1)).astype(np.uint8)
        return pixels

    def _ids(self, face: np.ndarray, hit: np.ndarray) -> np.ndarray:
        ids = np.broadcast_to(self.mesh.object_id, len(self.mesh.triangles))[face]
        return np.where(hit, ids, -1).astype(np.int32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors [P,3] to unit length; zero stays."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length == 0, 1, length)
