"""What the notebooks share: example shapes with texts, and commands of the documentation."""

from __future__ import annotations

import csv
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import trimesh

import lavis  # before torch: it sets the waiting of threads
from pointlang import Object

ROOT = Path(lavis.__file__).resolve().parents[1]
COLORS = {
    "red": (200, 40, 40),
    "green": (50, 160, 70),
    "blue": (40, 80, 200),
    "yellow": (230, 200, 50),
}
CLASSES = ("ball", "box", "cone", "ring", "table", "tube")


def command(line: str, *more: object) -> None:
    """Run a command from the repository's root, and show what it prints.

    Args:
        line: as in the documentation; it starts with "python".
        more: further words, each as it is (a path may have spaces).

    Raises:
        subprocess.CalledProcessError: the command failed; its message is above.
    """
    words = [sys.executable, *shlex.split(line)[1:], *map(str, more)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, cwd=ROOT, **pipes) as process:
        assert process.stdout is not None
        for printed in process.stdout:
            print(printed, end="", flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, line)


def show(objects: Sequence[Object]) -> None:
    """Draw objects side by side, up to 2,000 points of each."""
    figure = plt.figure(figsize=(3 * len(objects), 3))
    for place, one in enumerate(objects, 1):
        axis: Any = figure.add_subplot(1, len(objects), place, projection="3d")
        axis.scatter(*one.xyz[:2000, [0, 2, 1]].T, c=one.rgb[:2000], s=2)  # matplotlib has z up
        axis.set_title(Path(one.name).stem, fontsize=8)
        axis.set_axis_off()
        axis.set_aspect("equal")
    plt.show()


def write_shapes(folder: Path, count: int, seed: int = 0) -> Path:
    """Write coloured meshes (.ply, z is up) and the table of their texts.

    Args:
        folder: created when absent.
        count: of meshes; classes and colours are drawn evenly.
        seed: of proportions.

    Returns:
        The table: columns object, caption, class.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (name, color, tall) in enumerate(_kinds(count)):
        mesh = _mesh(name, np.random.default_rng([seed, number]))
        mesh.apply_scale([1, 1, 1.8 if tall else 0.7])
        colors = np.tile(COLORS[color], (len(mesh.vertices), 1))
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colors)
        mesh.export(folder / f"{name}_{number:03d}.ply")
        caption = f"a {'tall' if tall else 'flat'} {color} {name}"
        rows.append({"object": f"{name}_{number:03d}", "caption": caption, "class": name})
    table = folder / "captions.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def read_classes(table: Path) -> dict[str, str]:
    """Return {path of the mesh: class} of the table of `write_shapes`."""
    with table.open(newline="", encoding="utf-8") as file:
        return {str(table.parent / f"{r['object']}.ply"): r["class"] for r in csv.DictReader(file)}


def _kinds(count: int) -> Iterator[tuple[str, str, bool]]:
    """Yield class, colour and whether it is tall, so that each pair of them occurs."""
    colors = list(COLORS)
    for number in range(count):
        turn = number // len(CLASSES)
        yield CLASSES[number % len(CLASSES)], colors[(number + turn) % len(colors)], turn % 2 == 0


def _mesh(name: str, rng: np.random.Generator) -> trimesh.Trimesh:
    """Return a mesh of a class, about one unit wide."""
    width, height = rng.uniform(0.7, 1.3, 2)
    make = trimesh.creation
    if name == "ball":
        return make.uv_sphere(radius=width / 2)
    if name == "box":
        return make.box([width, rng.uniform(0.7, 1.3), height])
    if name == "cone":
        return make.cone(radius=width / 2, height=height)
    if name == "ring":
        return make.torus(major_radius=width / 2, minor_radius=0.12 * height)
    if name == "tube":
        return make.annulus(r_min=0.3 * width, r_max=0.4 * width, height=height)
    legs = ((x, y) for x in (-0.4, 0.4) for y in (-0.4, 0.4))
    parts = [_block(width, 0.1, (0, 0, height))]
    parts += [_block(0.1, height, (x * width, y * width, height / 2)) for x, y in legs]
    vertices = np.concatenate([part.vertices for part in parts])
    faces = np.concatenate([part.faces + 8 * k for k, part in enumerate(parts)])
    return trimesh.Trimesh(vertices, faces)


def _block(width: float, height: float, centre: tuple[float, float, float]) -> trimesh.Trimesh:
    """Return a box with a square base: 8 vertices."""
    move = trimesh.transformations.translation_matrix(centre)
    return trimesh.creation.box([width, width, height], move)
