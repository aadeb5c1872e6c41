"""A cloud as a binary glTF (.glb) that turns about its upright axis.

The viewer of the page (Babylon.js) draws points one pixel wide, so each point is an octahedron.
Light is part of the colours, as in the contact sheets of a conversion: points have no normals of
their own. The animation is part of the file, and viewers of glTF play it.

References: glTF 2.0, https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from lavis.datasets.convert.contact_sheet import LIGHT
from lavis.datasets.viewer.encode import neighbour_distance, surface_normals

POINTS = 4096  # shown; 0.9 MB
SECONDS = 16.0  # of a turn
_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _BYTE, _UINT = 5126, 5121, 5125
_VERTICES, _ELEMENTS = 34962, 34963  # targets of a buffer view
_CORNERS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
_FACES = np.array(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
)


def cloud_glb(points: np.ndarray, count: int = POINTS) -> bytes:
    """Return a turning cloud as the bytes of a .glb.

    Args:
        points: float [N,6], xyz (+y up) and rgb in [0,1].
        count: the most points that are shown, evenly from all.
    """
    points = points[:: -(-len(points) // count)]
    xyz = points[:, :3].astype(np.float64)
    radius = float(np.clip(neighbour_distance(xyz), 0.005, 0.03))  # of a unit sphere's points
    corners = xyz[:, None] + radius * _CORNERS  # [N,6,3]
    faces = _FACES + 6 * np.arange(len(xyz))[:, None, None]  # [N,8,3]
    colors = np.repeat(_lit(xyz, points[:, 3:6])[:, None], 6, axis=1)  # [N,6,4]
    angles = np.linspace(0, np.pi, 5)  # half of the angle of a full turn
    turn = np.stack([0 * angles, np.sin(angles), 0 * angles, np.cos(angles)], axis=1)
    return _file(
        corners.reshape(-1, 3).astype("<f4"),
        colors.reshape(-1, 4),
        faces.reshape(-1).astype("<u4"),
        np.linspace(0, SECONDS, 5).astype("<f4"),
        turn.astype("<f4"),
    )


def _lit(xyz: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Return colours with light on both sides of the surface: uint8 [N,4], linear as in glTF."""
    light = 0.45 + 0.55 * np.abs(surface_normals(xyz, xyz) @ LIGHT)
    linear = (np.clip(rgb, 0, 0.93) * light[:, None]) ** 2.2
    return np.rint(255 * np.concatenate([linear, np.ones((len(xyz), 1))], axis=1)).astype(np.uint8)


def _file(*arrays: np.ndarray) -> bytes:
    """Lay out positions, colours, indices, times and rotations behind their description."""
    kinds = ((_FLOAT, "VEC3"), (_BYTE, "VEC4"), (_UINT, "SCALAR"), (_FLOAT, "SCALAR"))
    targets = (_VERTICES, _VERTICES, _ELEMENTS)
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    start = 0
    for place, (array, kind) in enumerate(zip(arrays, (*kinds, (_FLOAT, "VEC4")), strict=True)):
        view = {"buffer": 0, "byteOffset": start, "byteLength": array.nbytes}
        views.append(view | ({"target": targets[place]} if place < len(targets) else {}))
        accessors.append(
            {"bufferView": place, "componentType": kind[0], "type": kind[1], "count": len(array)}
        )
        start += array.nbytes  # every item has four bytes or a multiple of them
    for place in (0, 3):  # the format requires them of positions and of times
        rows = arrays[place].reshape(len(arrays[place]), -1)
        accessors[place] |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
    accessors[1]["normalized"] = True
    head = json.dumps(_description(views, accessors, start)).encode()
    head += b" " * (-len(head) % 4)
    chunks = struct.pack("<II", len(head), _JSON) + head + struct.pack("<II", start, _BIN)
    body = chunks + b"".join(array.tobytes() for array in arrays)
    return struct.pack("<III", _MAGIC, 2, 12 + len(body)) + body


def _description(
    views: list[dict[str, Any]], accessors: list[dict[str, Any]], length: int
) -> dict[str, Any]:
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}
    return {
        "asset": {"version": "2.0", "generator": "pointlang"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "cloud"}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"doubleSided": True, "extensions": {"KHR_materials_unlit": {}}}],
        "animations": [
            {
                "name": "turn",
                "channels": [{"sampler": 0, "target": {"node": 0, "path": "rotation"}}],
                "samplers": [{"input": 3, "output": 4, "interpolation": "LINEAR"}],
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": length}],
    }
