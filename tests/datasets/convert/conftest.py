"""A small folder of generated meshes and clouds, with a table of texts."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from lavis.datasets.convert.convert import Options, convert
from lavis.datasets.convert.engines import in_this_process

RED, GREEN = (255, 0, 0), (0, 255, 0)


def shape(number: int) -> trimesh.Trimesh:
    """A box of its own proportions, a ball, a cylinder or a torus in turn; all differ."""
    scale = 1 + number / 10
    makers = (
        lambda: trimesh.creation.box((1, scale, 2)),
        lambda: trimesh.creation.icosphere(1, scale).apply_scale([1, 1, 0.5 + scale]),
        lambda: trimesh.creation.cylinder(scale, 2, sections=12),
        lambda: trimesh.creation.torus(2 * scale, 0.5, major_sections=10, minor_sections=6),
    )
    return makers[number % 4]()


def png(color: tuple[int, int, int] = RED, size: int = 8) -> bytes:
    """A texture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), color).save(file, "PNG")
    return file.getvalue()


def textured_obj(folder: Path, name: str, texture: str = "paint.png") -> None:
    """Write a square with a material and a texture: left half red, right half green."""
    image = Image.new("RGB", (8, 8), RED)
    image.paste(GREEN, (4, 0, 8, 8))
    image.save(folder / "paint.png")
    (folder / f"{name}.mtl").write_text(f"newmtl paint\nKd 0 0 0\nmap_Kd {texture}\n")
    corners = "v 0 0 0\nv 2 0 0\nv 2 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    faces = "usemtl paint\nf 1/1 2/2 3/3 4/4\n"
    (folder / f"{name}.obj").write_text(f"mtllib {name}.mtl\n{corners}{faces}")


@pytest.fixture(scope="session")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 objects in seven formats and two folders. Tests must not change it."""
    folder = tmp_path_factory.mktemp("meshes")
    (folder / "more").mkdir()
    for number in range(24):
        mesh = shape(number)
        mesh.visual.vertex_colors = np.tile([*RED, 255], (len(mesh.vertices), 1))
        suffix = ("glb", "ply", "stl", "off", "obj", "npy")[number % 6]
        path = folder / ("more" if number > 17 else "") / f"o{number}.{suffix}"
        if suffix == "npy":
            points = mesh.sample(300, seed=number)
            np.save(path, np.concatenate([points, np.full((300, 3), 0.25)], 1).astype(np.float32))
        else:
            mesh.export(path)
    textured_obj(folder, "square")
    return folder


@pytest.fixture(scope="session")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two captions, a class and a question for each object."""
    path = tmp_path_factory.mktemp("texts") / "captions.csv"
    names = ("box", "ball", "cylinder", "torus")
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "caption", "caption_2", "class", "question", "answer"])
        for number in range(24):
            name = names[number % 4]
            rows.writerow(
                [f"o{number}", f"a {name}", f"{name} {number}", name, "which shape is it?", name]
            )
        rows.writerow(["square", "a square, red and green", "", "square", "", ""])
    return path


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Convert in this process; return the folder."""

    def convert_to(source: Path, table: Path | None = None, name: str = "out", **options) -> Path:
        settings = {"num_points": 64, **options}
        convert(Options(source, table, **settings), tmp_path / name, in_this_process, False)
        return tmp_path / name

    return convert_to


@pytest.fixture(scope="session")
def files_of() -> Callable[[Path], dict[str, bytes]]:
    """Return {path: content} of everything in a folder."""

    def read(folder: Path) -> dict[str, bytes]:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {os.path.relpath(path, folder): path.read_bytes() for path in paths}

    return read


@pytest.fixture(scope="session")
def make_shape() -> Callable[[int], trimesh.Trimesh]:
    """See `shape`."""
    return shape


@pytest.fixture(scope="session")
def make_png() -> Callable[..., bytes]:
    """See `png`."""
    return png


@pytest.fixture(scope="session")
def write_textured() -> Callable[..., None]:
    """See `textured_obj`."""
    return textured_obj
