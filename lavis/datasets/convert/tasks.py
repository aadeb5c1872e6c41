"""Convert one file: a pure function of the job, for any engine.

    piece = convert_piece([Job("chairs/a", "/data/chairs/a.glb", "/data"), …])   # bytes
    for converted in read_piece(piece): …

The same jobs give the same bytes, in whatever process and on whatever machine. A file that cannot
be used is a record with the reason, never an exception.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from lavis.common.errors import PointLanguageError
from lavis.common.files import file_sha256
from lavis.datasets.convert.mesh import Mesh, joined, paint_points
from lavis.datasets.convert.mesh_files import MESH_SUFFIXES, read_mesh
from lavis.datasets.convert.shape_key import cloud_key, color_key, size_key, surface_key
from lavis.datasets.convert.up_axis import turned, up_of
from lavis.datasets.download_scripts.bricks_text import stable_hash
from lavis.datasets.readers.files import read_cloud
from lavis.datasets.readers.values import extremes
from lavis.datasets.stores.packed_points import pack_rgb, pack_xyz
from lavis.datasets.surface import SurfacePoints, areas_and_middles, sample_surface

# Raise it when a job gives other bytes than before: work of an older format is not continued.
FORMAT = 1
# Of objects and parts without colour, as OpenShape has it.
NO_COLOR = 0.4
COLOR_FACES = 2048  # triangles, about, whose colours are compared
MAX_REASON = 300  # characters


@dataclass(frozen=True)
class Job:
    """A file to convert.

    Attributes:
        object_id: its name in the converted data; decides the sampled points.
        path: the file.
        root: the user's folder; nothing outside it is read.
        num_points: P of a mesh, and the most of a cloud.
        seed: of the samples.
        up: of `up_axis.CHOICES`.
    """

    object_id: str
    path: str
    root: str
    num_points: int = 8192
    seed: int = 0
    up: str = "auto"


@dataclass(frozen=True)
class Converted:
    """What became of a file.

    Attributes:
        object_id: of the job.
        problem: why there is no cloud, "" when there is one.
        xyz: int16 [N,3], as packed_points.py has it.
        rgb: uint8 [N,3].
        facts: JSON values: `scale` (radius of the unit sphere in the file's unit), `size` and
            `centre` of the box after turning, `geometry` and `duplicate` keys, `up`, `has_color`,
            `num_points`, `source`, `bytes`, `sha256`, `notes` …
    """

    object_id: str
    problem: str = ""
    xyz: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.int16))
    rgb: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.uint8))
    facts: Mapping[str, Any] = field(default_factory=dict)


class _Sample(NamedTuple):
    """Points of a file, in its own frame."""

    xyz: np.ndarray  # float64 [N,3]
    rgb: np.ndarray | None  # float [N,3] in [0,1]
    box: np.ndarray  # float64 [2,3], lowest and highest corner of the whole object
    keys: tuple[str, str]  # shape, colours
    facts: dict[str, Any]


def convert_piece(jobs: Sequence[Job]) -> bytes:
    """Return the converted files of some jobs, in their order, as the bytes of an .npz."""
    results = [convert_file(job) for job in jobs]
    try:
        return encode(results)
    except Exception:
        return encode([_storable(result) for result in results])


def convert_file(job: Job) -> Converted:
    """Read, sample and pack one file; every exception becomes the `problem` of the record."""
    path = Path(job.path)
    source: dict[str, Any] = {"source": os.path.relpath(path, job.root)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy and pillow on odd files
            source |= {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            return _packed(job, _sample(job, path), source)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit and panics of Rust, too: the process lives on
        return Converted(job.object_id, problem=_reason(error), facts=source)


def _storable(result: Converted) -> Converted:
    """Return a result, or the record of why it cannot be stored."""
    try:
        encode([result])
    except Exception as error:
        facts = {"source": result.facts["source"]}
        return Converted(result.object_id, problem=_reason(error), facts=facts)
    return result


def _sample(job: Job, path: Path) -> _Sample:
    rng = np.random.default_rng([job.seed, stable_hash(f"points:{job.object_id}")])
    if path.suffix.lower() in MESH_SUFFIXES:
        mesh = read_mesh(path, Path(job.root))
        if mesh is not None:
            return _sample_mesh(mesh, job.num_points, rng)
    return _sample_cloud(path, job, rng)


def _sample_mesh(mesh: Mesh, num_points: int, rng: np.random.Generator) -> _Sample:
    vertices, faces = joined(mesh.parts)
    area, middle = areas_and_middles(vertices, faces)
    points = sample_surface(vertices, faces, num_points, rng, area)
    some = np.arange(0, len(faces), 1 + len(faces) // COLOR_FACES)
    centres = SurfacePoints(middle[some], some, np.full((len(some), 2), 1 / 3))
    colors = paint_points(mesh.parts, centres, NO_COLOR)
    keys = surface_key(vertices, faces, area, middle), color_key(centres.xyz, colors, area[some])
    facts = {"faces": len(faces), "degenerate_faces": int((area == 0).sum()), "notes": mesh.notes}
    box = np.stack(extremes(vertices))
    return _Sample(points.xyz, paint_points(mesh.parts, points, NO_COLOR), box, keys, facts)


def _sample_cloud(path: Path, job: Job, rng: np.random.Generator) -> _Sample:
    cloud = read_cloud(path)
    xyz = cloud.xyz.astype(np.float64)
    box = np.stack(extremes(xyz))
    keys = cloud_key(xyz), color_key(xyz, cloud.rgb)
    facts = {"points_in_file": len(xyz), "notes": dict(cloud.notes)}
    # In random order, so that the first points of a cloud are a sample of it, as of a mesh.
    chosen = rng.permutation(len(xyz))[: job.num_points]
    rgb = None if cloud.rgb is None else cloud.rgb[chosen]
    return _Sample(xyz[chosen], rgb, box, keys, facts)


def _packed(job: Job, sample: _Sample, source: Mapping[str, Any]) -> Converted:
    """Turn up to +y, move the middle of the box to the origin, scale to the unit sphere."""
    up = up_of(Path(job.path).suffix.lower(), job.up)
    xyz, box = turned(sample.xyz, up), turned(sample.box, up)
    centre, size = box.mean(axis=0), np.abs(box[1] - box[0])
    xyz = xyz - centre
    radius = float(np.linalg.norm(xyz, axis=1).max())
    if not 0 < radius <= float(np.finfo(np.float32).max) or radius < 1e-30:
        raise ValueError(f"an object with a radius of {radius:g}")
    rgb = np.full(xyz.shape, NO_COLOR) if sample.rgb is None else sample.rgb
    shape, color = sample.keys
    facts = {
        **source,
        "geometry": shape,
        "duplicate": f"{shape}:{size_key(size)}:{color}",
        "scale": radius,
        "size": size.tolist(),
        "centre": centre.tolist(),
        "up": up,
        "has_color": sample.rgb is not None,
        "num_points": len(xyz),
        **sample.facts,
    }
    return Converted(job.object_id, "", pack_xyz(xyz / radius), pack_rgb(rgb), facts)


def _reason(error: BaseException) -> str:
    """Return one line on what is wrong with a file."""
    lines = str(error).splitlines() or [""]
    if isinstance(error, PointLanguageError):
        got = next((line for line in lines if line.startswith("  got:")), lines[0])
        text = got.removeprefix("  got:").strip()
    else:
        text = lines[0] if type(error) is ValueError else f"{type(error).__name__}: {lines[0]}"
    return text[:MAX_REASON].encode("utf-8", "backslashreplace").decode("utf-8")


def encode(results: Sequence[Converted]) -> bytes:
    """Return results as the bytes of an .npz; zip entries carry a checksum."""
    records = [
        {"object_id": r.object_id, "problem": r.problem, "count": len(r.xyz), "facts": r.facts}
        for r in results
    ]
    text = json.dumps(records, sort_keys=True).encode("utf-8")
    empty = Converted("")
    file = io.BytesIO()
    np.savez(
        file,
        records=np.frombuffer(text, np.uint8),
        xyz=np.concatenate([empty.xyz, *(result.xyz for result in results)]),
        rgb=np.concatenate([empty.rgb, *(result.rgb for result in results)]),
    )
    return file.getvalue()


def read_piece(piece: Path | IO[bytes], with_points: bool = True) -> list[Converted]:
    """Return what `encode` stored.

    Args:
        piece: the file.
        with_points: also read xyz and rgb.

    Raises:
        see `lavis.datasets.readers.files.DAMAGE`: a damaged file.
    """
    with np.load(piece, allow_pickle=False) as stored:
        records = json.loads(stored["records"].tobytes())
        if not with_points:
            return [Converted(r["object_id"], r["problem"], facts=r["facts"]) for r in records]
        xyz, rgb = stored["xyz"], stored["rgb"]
    ends = np.cumsum([record["count"] for record in records]).tolist()
    return [
        Converted(
            r["object_id"],
            r["problem"],
            xyz[end - r["count"] : end],
            rgb[end - r["count"] : end],
            r["facts"],
        )
        for r, end in zip(records, ends, strict=True)
    ]
