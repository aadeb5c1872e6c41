"""Read .obj, .glb, .gltf, .stl and .off by trimesh, and .ply by our own reader, as parts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lavis.datasets.convert.mesh import Mesh, Paint, Part
from lavis.datasets.convert.mesh_checks import MAX_FILE_BYTES, check_mesh
from lavis.datasets.convert.nearby_files import NearbyFiles
from lavis.datasets.readers.ply_mesh import PlyMesh, mesh_of_ply
from lavis.datasets.readers.values import unit_colors

MESH_SUFFIXES = (".obj", ".glb", ".gltf", ".stl", ".off", ".ply")
MAX_TEXTURE_PIXELS = 2**27
_RGB = ("red", "green", "blue")
_UV_NAMES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))


def read_mesh(path: Path, root: Path) -> Mesh | None:
    """Return the mesh of a file; None where a .ply holds points only.

    Args:
        path: one of `MESH_SUFFIXES`.
        root: materials, textures and buffers are read below this folder only.

    Raises:
        OSError, ValueError: damage, no faces, or sizes beyond the limits.
        Exception: whatever trimesh raises on damaged files.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size:,} bytes, more than {MAX_FILE_BYTES:,}")
    nearby = NearbyFiles(root, path.parent)
    notes: dict[str, str] = {}
    if path.suffix.lower() == ".ply":
        with open(path, "rb") as file:
            mesh = mesh_of_ply(file, size)
        if mesh is None:
            return None
        parts = [_ply_part(mesh, nearby, notes)]
    else:
        content, kind = path.read_bytes(), path.suffix.lower()[1:]
        check_mesh(content, kind)
        parts = _trimesh_parts(content, kind, nearby, notes)
    if nearby.missing:
        listed = ", ".join(f"{name} ({why})" for name, why in sorted(nearby.missing.items())[:3])
        notes["missing files"] = f"{len(nearby.missing)} files of the mesh are not read: {listed}"
    return Mesh(parts, notes)


def _trimesh_parts(
    content: bytes, kind: str, nearby: NearbyFiles, notes: dict[str, str]
) -> list[Part]:
    import trimesh  # slow to import

    scene = trimesh.load_scene(
        io.BytesIO(content), file_type=kind, resolver=nearby, process=False, allow_remote=False
    )
    parts = []
    for node in sorted(scene.graph.nodes_geometry):
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if isinstance(mesh, trimesh.Trimesh):
            vertices = trimesh.transform_points(mesh.vertices, transform)
            faces = np.asarray(mesh.faces, np.int64)
            parts.append(Part(vertices, faces, _paint(mesh, notes)))
        else:
            notes["left out"] = f"{type(mesh).__name__} beside the mesh is left out"
    return parts


def _paint(mesh: Any, notes: dict[str, str]) -> Paint:
    """Return the colour of a trimesh as the file gives it: its defaults count as no colour."""
    visual = mesh.visual
    if visual.kind == "vertex":
        return Paint(vertex_rgb=np.asarray(visual.vertex_colors)[:, :3] / 255.0)
    if visual.kind == "face":
        return Paint(face_rgb=np.asarray(visual.face_colors)[:, :3] / 255.0)
    if visual.kind != "texture":
        return Paint()
    material = visual.material
    is_pbr = hasattr(material, "baseColorTexture")
    image = material.baseColorTexture if is_pbr else material.image
    base = material.baseColorFactor if is_pbr else material.diffuse
    if image is not None and image.format is None:  # made by trimesh for a missing material
        return Paint()
    pixels = None if image is None else texture_pixels(image, notes)
    uv = None if visual.uv is None else np.asarray(visual.uv, np.float64)
    has_texture = pixels is not None and uv is not None and len(uv) == len(mesh.vertices)
    # In .mtl, Kd beside a texture is often black or grey and ignored by viewers.
    uses_base = base is not None and (is_pbr or not has_texture)
    rgb = np.asarray(base, np.float64)[:3] / 255.0 if uses_base else None
    if has_texture and rgb is not None and not rgb.any():
        rgb = None  # Kd 0 0 0 beside a texture, turned into glTF
    vertex = mesh.vertex_attributes.get("color")
    return Paint(
        vertex_rgb=None if vertex is None else _vertex_rgb(np.asarray(vertex)),
        image=pixels if has_texture else None,
        uv=uv if has_texture else None,
        base=rgb,
    )


def _vertex_rgb(colors: np.ndarray) -> np.ndarray | None:
    """Return COLOR_0 of glTF, bytes, 16 bits or floats, in [0,1]."""
    most = float(np.iinfo(colors.dtype).max) if colors.dtype.kind in "iu" else 1.0
    return colors[:, :3].astype(np.float64) / most if colors.ndim == 2 else None


def texture_pixels(image: Image.Image, notes: dict[str, str]) -> np.ndarray | None:
    """Return the pixels of a texture, uint8 [H,W,3]; None, and a note, where they cannot be read.

    Args:
        image: opened, not yet decoded.
        notes: gets "texture" where it is damaged or too large.
    """
    try:
        if image.width * image.height > MAX_TEXTURE_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels")
        return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        notes["texture"] = f"a texture cannot be read: {error}"
        return None


def _ply_part(mesh: PlyMesh, nearby: NearbyFiles, notes: dict[str, str]) -> Part:
    rows = mesh.vertices
    if not {"x", "y", "z"} <= set(rows):
        raise ValueError(f"PLY vertices with {', '.join(rows)}, no x, y, z")
    vertices, faces = np.stack([rows[axis] for axis in "xyz"], 1).astype(np.float64), mesh.faces
    vertex_rgb, face_rgb = None, mesh.face_rgb
    if set(_RGB) <= set(rows):
        vertex_rgb = unit_colors(np.stack([rows[name] for name in _RGB], 1)).rgb
    if face_rgb is not None and len(face_rgb):
        face_rgb = unit_colors(face_rgb).rgb
    image = _ply_texture(mesh.texture, nearby, notes)
    uv = next(
        (np.stack([rows[n] for n in two], 1) for two in _UV_NAMES if set(two) <= set(rows)), None
    )
    if image is not None and mesh.corner_uv is not None:
        # One vertex per corner: a vertex may have another place of the texture in each face.
        uv, used = mesh.corner_uv.reshape(-1, 2), faces.reshape(-1)
        vertices, faces = vertices[used], np.arange(len(used)).reshape(-1, 3)
        vertex_rgb = None if vertex_rgb is None else vertex_rgb[used]
    if image is None or uv is None:
        return Part(vertices, faces, Paint(vertex_rgb, face_rgb))
    return Part(vertices, faces, Paint(None, None, image, uv))


def _ply_texture(name: str, nearby: NearbyFiles, notes: dict[str, str]) -> np.ndarray | None:
    if not name:
        return None
    try:
        return texture_pixels(Image.open(io.BytesIO(nearby.get(name))), notes)
    except (OSError, Image.DecompressionBombError) as error:
        notes["texture"] = f"a texture cannot be read: {error}"
        return None
