"""Which axis points up in a file, and clouds turned so that up is +y."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

CHOICES = ("auto", "y", "z")
# What each format says (glTF), or what most of its writers do. Scanners and CAD have z up.
CONVENTION = {
    **dict.fromkeys((".glb", ".gltf", ".obj"), "y"),
    **dict.fromkeys((".stl", ".off", ".ply"), "z"),
    **dict.fromkeys((".npy", ".npz", ".pt", ".pth", ".pkl", ".pickle"), "y"),
    **dict.fromkeys((".pcd", ".las", ".laz", ".txt", ".xyz", ".pts", ".asc", ".csv"), "z"),
}


def up_of(suffix: str, choice: str) -> str:
    """Return "y" or "z" for a file.

    Args:
        suffix: of the file's name, in lower case.
        choice: one of `CHOICES`; "auto" goes by `CONVENTION`.
    """
    return CONVENTION[suffix] if choice == "auto" else choice


def turned(xyz: np.ndarray, up: str) -> np.ndarray:
    """Return points [N,3] with up +y; the frame stays right-handed: (x, y, z) to (x, z, -y)."""
    return xyz if up == "y" else np.stack([xyz[:, 0], xyz[:, 2], -xyz[:, 1]], axis=1)


def count_up(facts: Iterable[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """Return {axis: {suffix: objects}} of records with `up` and `source`."""
    counts: dict[str, Counter[str]] = {}
    for fact in facts:
        suffix = "." + fact["source"].rsplit(".", 1)[-1].lower()
        counts.setdefault(fact["up"], Counter())[suffix] += 1
    return {axis: dict(sorted(counts[axis].items())) for axis in sorted(counts)}


def mixed_note(counts: Mapping[str, Mapping[str, int]], choice: str) -> str:
    """Return what to check where files of one folder were read with different axes, or ""."""
    if choice != "auto" or len(counts) < 2:
        return ""
    parts = [
        f"{axis} is up in {', '.join(f'{n} {suffix}' for suffix, n in of.items())}"
        for axis, of in counts.items()
    ]
    return f"up axis by file format: {'; '.join(parts)}. Compare contact_sheet.png; --up sets one"
