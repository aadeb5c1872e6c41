"""Meshes of furniture models as coloured triangles, in the frame of `ItemMesh`.

Textures become colours of triangles, and long edges of textured triangles are halved until their
colours are fine enough. Cameras and samplers then need neither images nor places in them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lavis.datasets.download_scripts.furniture.catalogue import Model
from lavis.datasets.download_scripts.furniture.meshes import SizedMesh, read_model
from lavis.datasets.download_scripts.rooms.items import ItemMesh
from lavis.datasets.surface import SurfacePoints

MAX_EDGE = 0.05  # metres, of textured triangles
MAX_TRIANGLES = 80_000  # of one model: no edge is halved beyond
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # weights of the second and third corner
# Where the colour of a triangle is looked up: its centre, and half way to its corners.
_PLACES = np.array([[2, 2, 2], [4, 1, 1], [1, 4, 1], [1, 1, 4]]) / 6


def furniture_mesh(folder: Path, model: Model) -> ItemMesh:
    """Return a furniture model at its catalogue's size.

    Args:
        folder: of all models.
        model: of the catalogue.

    Raises:
        DataError: the file cannot be read.
    """
    mesh = read_model(folder, model)
    face, weights = _pieces(mesh)
    corners = mesh.vertices[mesh.faces[face]]  # [F,3,3]
    triangles = _interpolated(corners, weights)
    colors = np.mean([_colors(mesh, face, place @ weights) for place in _PLACES], axis=0)
    return ItemMesh(triangles.astype(np.float32), np.rint(255 * colors).astype(np.uint8))


def _colors(mesh: SizedMesh, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the colours of one place [F,2] on each triangle: [F,3] in [0,1]."""
    xyz = _interpolated(mesh.vertices[mesh.faces[face]], weights[:, None])[:, 0]
    return mesh.colors(SurfacePoints(xyz, face, weights))


def _interpolated(corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return points of triangles [F,3,3] by weights [F,K,2]: [F,K,3]."""
    a, b, c = corners[:, None, 0], corners[:, None, 1], corners[:, None, 2]
    return a + weights[..., :1] * (b - a) + weights[..., 1:] * (c - a)


def _pieces(mesh: SizedMesh) -> tuple[np.ndarray, np.ndarray]:
    """Return the triangles to use: the face that each is a part of, and its corners' weights."""
    is_textured = np.concatenate(
        [np.full(len(part.faces), part.paint.image is not None) for part in mesh.parts]
    )
    face = np.arange(len(mesh.faces))
    weights = np.tile(_CORNERS, (len(face), 1, 1))  # [F,3,2]
    done = [(face[~is_textured], weights[~is_textured])]
    face, weights = face[is_textured], weights[is_textured]
    while len(face):
        xyz = _interpolated(mesh.vertices[mesh.faces[face]], weights)
        lengths = np.linalg.norm(np.roll(xyz, -1, axis=1) - xyz, axis=2)  # corner k to k + 1
        is_long = lengths.max(1) > MAX_EDGE
        total = sum(len(part) for part, _ in done) + len(face) + int(is_long.sum())
        if total > MAX_TRIANGLES:
            break
        done += [(face[~is_long], weights[~is_long])]
        face, weights = _halved(face[is_long], weights[is_long], lengths[is_long].argmax(1))
    faces, corners = zip(*done, (face, weights))
    return np.concatenate(faces), np.concatenate(corners)


def _halved(
    face: np.ndarray, weights: np.ndarray, edge: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cut triangles through the middle of an edge: twice as many."""
    rows = np.arange(len(face))
    a, b, c = (weights[rows, (edge + k) % 3] for k in range(3))  # [n,2]
    middle = (a + b) / 2
    halves = [np.stack([a, middle, c], 1), np.stack([middle, b, c], 1)]
    return np.concatenate([face, face]), np.concatenate(halves)
