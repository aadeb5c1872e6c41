"""What trimesh does not check: cut files that it takes for whole ones, and sizes beyond a limit.

trimesh returns the faces that are left of a cut .off or .stl, allocates what an accessor of a .glb
promises, and copies a mesh for each of its instances.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

MAX_FILE_BYTES = 2**30
MAX_MESH_BYTES = 2**31  # of all instances of all primitives
_MAX_STRIDE = 252  # of glTF
_COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


def check_mesh(content: bytes, kind: str) -> None:
    """Refuse a file that is cut or asks for too much.

    Args:
        content: of the file.
        kind: its suffix without the dot.

    Raises:
        ValueError: with what is wrong.
    """
    if not content.strip(b"\0 \t\r\n"):
        raise ValueError("an empty file")
    if kind == "glb":
        _check_gltf(_glb_header(content))
    elif kind == "gltf":
        _check_gltf(_json(content))
    elif kind == "stl":
        _check_stl(content)
    elif kind == "off":
        _check_off(content)
    elif kind == "obj":
        _check_obj(content)


def _glb_header(content: bytes) -> Any:
    if len(content) < 20 or content[:4] != b"glTF":
        raise ValueError(f"a .glb that begins with {content[:8]!r}")
    _, length, first = struct.unpack_from("<III", content, 4)
    if length > len(content) or first > len(content) - 20:
        raise ValueError(f"a .glb of {length:,} bytes in {len(content):,} bytes")
    return _json(content[20 : 20 + first])


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def _check_gltf(header: Any) -> None:
    """Compare what the accessors, meshes and nodes ask for with `MAX_MESH_BYTES`."""
    if not isinstance(header, dict) or "meshes" not in header:
        raise ValueError("a glTF file without meshes")
    for view in header.get("bufferViews", []):
        if not 1 <= view.get("byteStride", 1) <= _MAX_STRIDE or view.get("byteOffset", 0) < 0:
            raise ValueError(f"the buffer view {view}")
    sizes = [_accessor_bytes(accessor) for accessor in header.get("accessors", [])]
    of_mesh = [sum(_primitive_bytes(p, sizes) for p in m["primitives"]) for m in header["meshes"]]
    instances = [of_mesh[node["mesh"]] for node in header.get("nodes", []) if "mesh" in node]
    needed = max(sum(sizes), sum(of_mesh), sum(instances))
    if needed > MAX_MESH_BYTES:
        raise ValueError(f"{needed:,} bytes of vertices and faces, more than {MAX_MESH_BYTES:,}")


def _accessor_bytes(accessor: Mapping[str, Any]) -> int:
    count, offset = accessor["count"], accessor.get("byteOffset", 0)
    if type(count) is not int or type(offset) is not int or min(count, offset) < 0:
        raise ValueError(f"the accessor {dict(accessor)}")
    return count * _COMPONENTS[accessor["type"]] * _COMPONENT_BYTES[accessor["componentType"]]


def _primitive_bytes(primitive: Mapping[str, Any], sizes: list[int]) -> int:
    used = [*primitive.get("attributes", {}).values()]
    used += [primitive["indices"]] if "indices" in primitive else []
    return sum(sizes[accessor] for accessor in used)


def _check_stl(content: bytes) -> None:
    """Accept a binary file of the declared length, or a text whose last solid is ended."""
    if len(content) >= 84:
        (faces,) = struct.unpack_from("<I", content, 80)
        if len(content) == 84 + 50 * faces:
            return
    if not content.lstrip().lower().startswith(b"solid"):
        raise ValueError(f"an .stl of {len(content):,} bytes, not the length that it declares")
    last = content.rstrip().rsplit(b"\n", 1)[-1]
    if not last.strip().lower().startswith(b"endsolid"):
        raise ValueError("an .stl that is cut: no endsolid in the last line")


def _check_off(content: bytes) -> None:
    """Compare the lines with the numbers of vertices and faces in the header."""
    lines = [line.split(b"#", 1)[0].split() for line in content.splitlines()]
    words = [line for line in lines if line]
    if not words or not words[0][0].upper().startswith((b"OFF", b"COFF")):
        raise ValueError(f"an .off that begins with {content[:16]!r}")
    head = words[0][0].upper().removeprefix(b"C").removeprefix(b"OFF")
    counts = [part for part in (head, *words[0][1:]) if part]  # "OFF8 6 12" occurs in ModelNet40
    rest = words[1:]
    if not counts:
        counts, rest = rest[0] if rest else [], rest[1:]
    if len(counts) < 2:
        raise ValueError("an .off without numbers of vertices and faces")
    needed = int(counts[0]) + int(counts[1])
    if len(rest) < needed:
        raise ValueError(f"an .off that is cut: {needed:,} lines declared, {len(rest):,} found")
    short = [line for line in rest[int(counts[0]) : needed] if len(line) < int(line[0]) + 1]
    if short:
        raise ValueError(f"a face that is cut: {b' '.join(short[0])!r}")


def _check_obj(content: bytes) -> None:
    """Refuse points without faces, and a last line that is cut."""
    words = content.rsplit(b"\n", 1)[-1].split()
    if words[:1] in ([b"v"], [b"f"]) and len(words) < 4:
        raise ValueError(f"an .obj that is cut: it ends with {b' '.join(words)!r}")
    if b"\nf " not in content and b"\nf\t" not in content and not content.startswith(b"f "):
        raise ValueError("an .obj without faces; points are read from .ply, .xyz, .npy")
