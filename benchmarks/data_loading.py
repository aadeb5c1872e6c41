"""Data loading: packed clouds beside a file per object, an index of a million, converting meshes.

    python -m benchmarks.data_loading
    python -m benchmarks.data_loading --quick

reading     Coloured clouds of 10,000 points from a warm page cache, one process, one thread, in a
            random order. `npy` is np.load of float32 [P,6], one file per object; `npz` and `record`
            (a pickled mapping, as OpenShape's) are rows beside it. Sides take turns in blocks of
            objects, and each side's figure is its fastest block: other jobs share the cores.
index       A packed store of a million simulated objects, opened in a child process: seconds and
            growth of its memory. The first opening since the machine started also compares hashes.
converting  Real brick meshes as .ply with colours: `python -m lavis.datasets.convert` with two
            processes beside a loop of trimesh.load, sample_surface and np.save.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lavis  # noqa: F401 (sets the policy of threads before torch is loaded)

# isort: split
import numpy as np

from benchmarks.record import Record, parse_options
from lavis.common.errors import DataError
from lavis.datasets.manifest import write_manifest
from lavis.datasets.stores.object_ids import write_ids
from lavis.datasets.stores.packed_fields import (
    FIELD_LAYOUTS,
    KIND,
    OFFSETS_NAME,
    SCALE_NAME,
    UNIT_XYZ,
    PackedFieldStore,
    PackedFieldWriter,
)
from lavis.datasets.stores.packed_points import PackedPointWriter
from lavis.datasets.stores.point_stores import PackedPointStore

ROOT = Path(__file__).resolve().parents[1]
POINTS, BLOCK = 10_000, 32
XYZ_STEP = 1 / 32767  # of the packed coordinates
LAYOUTS = {"xyz": UNIT_XYZ, "rgb": FIELD_LAYOUTS["rgb"]}


def names_of(count: int) -> list[str]:
    """Return ids of 32 hexadecimal digits, as Objaverse's."""
    return [f"{(number * 0x9E3779B97F4A7C15) % 2**128:032x}" for number in range(count)]


def write_clouds(folder: Path, names: Sequence[str]) -> None:
    """Write the same clouds as files and as packed stores."""
    rng = np.random.default_rng(0)
    for kind in ("npy", "npz", "record"):
        (folder / kind).mkdir()
    packed = PackedPointWriter(folder / "packed", len(names), POINTS)
    with packed, PackedFieldWriter(folder / "fields", LAYOUTS) as fields:
        for row, name in enumerate(names):
            xyz = rng.uniform(-0.57, 0.57, (POINTS, 3)).astype(np.float32)
            rgb = (rng.integers(0, 256, (POINTS, 3)) / 255).astype(np.float32)
            cloud = np.concatenate([xyz, rgb], 1)
            np.save(folder / "npy" / f"{name}.npy", cloud)
            np.savez(folder / "npz" / f"{name}.npz", cloud)
            np.save(folder / "record" / f"{name}.npy", np.array({"xyz": xyz, "rgb": rgb}, object))
            packed.write(row, xyz, rgb, 1.0)
            fields.write(name, {"xyz": xyz, "rgb": rgb})
    write_ids(folder / "packed", names)


def readers(folder: Path) -> dict[str, Callable[[str], Any]]:
    """Return {case: function of an object id}; `packed` and `fields` give xyz and rgb."""
    npy, npz, record = (folder / kind for kind in ("npy", "npz", "record"))
    packed, fields = PackedPointStore(folder / "packed"), PackedFieldStore(folder / "fields")
    return {
        "npy": lambda name: np.load(npy / f"{name}.npy"),
        "npz": lambda name: np.load(npz / f"{name}.npz")["arr_0"],
        "record": lambda name: np.load(record / f"{name}.npy", allow_pickle=True).item(),
        "packed": packed.load_points,
        "packed, one array": packed.load,
        "fields": fields.load_points,
    }


def measure_reading(names: Sequence[str], rounds: int, record: Record) -> dict[str, float]:
    """Time every case; return the figures of the headline and the differences."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_clouds(folder, names)
        cases = readers(folder)
        fastest = _fastest(cases, names, rounds)
        sizes = {case: _bytes_below(folder / case) for case in ("npy", "npz", "packed", "fields")}
        differences = _differences(cases, names[:16])
    for case, seconds in fastest.items():
        speedup = round(fastest["npy"] / seconds, 2)
        size = sizes.get(case)
        row = {"case": case, "microseconds": round(seconds * 1e6, 1), "speedup": speedup}
        row |= {"samples_per_second": round(1 / seconds)}
        row |= {} if size is None else {"bytes_per_object": round(size / len(names))}
        record.add({"part": "reading", **row})
    ratio = sizes["npy"] / sizes["packed"]
    speedup = fastest["npy"] / fastest["packed"]
    return {"packed_speedup": round(speedup, 2), "size_ratio": round(ratio, 2), **differences}


def _fastest(
    cases: dict[str, Callable[[str], Any]], names: Sequence[str], rounds: int
) -> dict[str, float]:
    """Return the seconds per object of each case's fastest block."""
    order = np.random.default_rng(1).permutation(len(names))
    blocks = [[names[row] for row in order[i : i + BLOCK]] for i in range(0, len(names), BLOCK)]
    for read in cases.values():  # compiled and cached
        for name in names:
            read(name)
    fastest = dict.fromkeys(cases, np.inf)
    for _ in range(rounds):
        for block in blocks:
            for case, read in cases.items():
                start = time.perf_counter()
                for name in block:
                    read(name)
                seconds = (time.perf_counter() - start) / len(block)
                fastest[case] = min(fastest[case], seconds)
    return fastest


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _differences(cases: dict[str, Callable[[str], Any]], names: Sequence[str]) -> dict[str, float]:
    """Return the largest differences between the packed clouds and the files."""
    xyz, rgb, same = 0.0, 0.0, True
    for name in names:
        cloud, packed = cases["npy"](name), cases["packed"](name)
        xyz = max(xyz, float(np.abs(cloud[:, :3] - packed["xyz"]).max()))
        rgb = max(rgb, float(np.abs(cloud[:, 3:] - packed["rgb"]).max()))
        joined = np.concatenate([packed["xyz"], packed["rgb"]], 1)
        others = cases["fields"](name)
        same &= np.array_equal(joined, cases["packed, one array"](name))
        fields = np.concatenate([others["xyz"], others["rgb"]], 1)
        same &= np.allclose(joined, fields, atol=1.1 * XYZ_STEP)  # halves may round to either side
    return {"xyz_difference": xyz, "rgb_difference": rgb, "stores_differ": float(not same)}


def write_index(folder: Path, count: int) -> None:
    """Write a packed store of objects of one point each."""
    folder.mkdir()
    np.save(folder / "field_xyz.npy", np.zeros((count, 3), np.int16))
    np.save(folder / "field_rgb.npy", np.zeros((count, 3), np.uint8))
    np.save(folder / OFFSETS_NAME, np.arange(count + 1))
    np.save(folder / SCALE_NAME, np.ones(count, np.float32))
    write_ids(folder, names_of(count))
    layouts = {name: asdict(layout) for name, layout in LAYOUTS.items()}
    write_manifest(folder, kind=KIND, layouts=layouts)


def open_index(folder: str, count: int) -> dict[str, Any]:
    """Open the store in this process, and look objects up."""
    before = _resident_mib()
    start = time.perf_counter()
    store = PackedFieldStore(folder)
    seconds = time.perf_counter() - start
    grown = _resident_mib() - before
    names = names_of(count)
    rows = np.random.default_rng(0).integers(0, count, 2000).tolist()
    start = time.perf_counter()
    wrong = sum(store.row_of[names[row]] != row for row in rows)
    look_up = (time.perf_counter() - start) / len(rows)
    try:
        store.load_points("absent")
        wrong += 1
    except DataError:
        pass
    row = {"seconds": round(seconds, 3), "mib": round(grown, 1), "wrong_rows": wrong}
    return row | {"look_up_microseconds": round(look_up * 1e6, 1)}


def _resident_mib() -> float:
    """Return the peak of this process' memory so far, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def measure_index(count: int, record: Record) -> dict[str, Any]:
    """Open a store twice, in a process each; return the second's figures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "store"
        write_index(folder, count)
        found: dict[str, Any] = {}
        for opening in ("first", "later"):
            found = _in_child(f"open_index({str(folder)!r}, {count})")
            record.add({"part": "index", "objects": count, "opening": opening, **found})
    return {"index_seconds": found["seconds"], "index_mib": found["mib"]}


def _in_child(call: str) -> dict[str, Any]:
    code = f"import json, benchmarks.data_loading as b; print(json.dumps(b.{call}))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_meshes(folder: Path, count: int) -> list[Path]:
    """Write brick meshes with a colour per vertex as .ply."""
    import trimesh

    from lavis.datasets.download_scripts import bricks_meshes

    package = bricks_meshes.package_folder()
    _, category_of = bricks_meshes.read_catalogue(package)
    parts = sorted(category_of, key=lambda part: (category_of[part], part))
    chosen = parts[:: max(len(parts) // count, 1)][:count]
    rng, paths, archives = np.random.default_rng(0), [], {}
    folder.mkdir()
    for number, part in enumerate(chosen):
        category = category_of[part]
        if category not in archives:
            archives[category] = bricks_meshes.open_category(package, category)
        vertices, faces = bricks_meshes.decode_mesh(archives[category], part)
        colors = rng.integers(0, 256, (len(vertices), 4), np.uint8)
        mesh = trimesh.Trimesh(vertices, faces, vertex_colors=colors, process=False)
        paths.append(folder / f"part_{number:05d}.ply")
        mesh.export(paths[-1])
    return paths


def usual_conversion(paths: Sequence[Path], out: Path) -> None:
    """Sample every mesh with trimesh and save one file each."""
    import trimesh

    out.mkdir()
    for path in paths:
        mesh = trimesh.load(path, force="mesh")
        points, _, colors = trimesh.sample.sample_surface(mesh, POINTS, sample_color=True)
        cloud = np.concatenate([points, colors[:, :3] / 255], 1)
        np.save(out / f"{path.stem}.npy", cloud.astype(np.float32))


def measure_conversion(count: int, workers: int, record: Record) -> dict[str, Any]:
    """Convert meshes both ways; the sizes of the objects are compared."""
    from lavis.datasets.convert.convert import Options, convert
    from lavis.datasets.convert.engines import in_processes

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = write_meshes(folder / "meshes", count)
        start = time.perf_counter()
        usual_conversion(paths, folder / "usual")
        usual = time.perf_counter() - start
        options = Options(folder / "meshes", num_points=POINTS, up="y")
        start = time.perf_counter()
        convert(options, folder / "ours", lambda pieces: in_processes(pieces, workers), False)
        ours = time.perf_counter() - start
        difference = _size_difference(folder)
    row = {"meshes": count, "processes": workers, "points": POINTS}
    row |= {"usual_seconds": round(usual, 1), "seconds": round(ours, 1)}
    record.add({"part": "converting", **row, "speedup": round(usual / ours, 2)})
    return {"convert_speedup": round(usual / ours, 2), "box_difference": difference}


def _size_difference(folder: Path) -> float:
    """Return the largest relative difference of the longest sides of objects kept by both."""
    from lavis.datasets.convert.pack import POINTS as PACKED

    store = PackedFieldStore(folder / "ours" / PACKED)
    worst = 0.0
    for name in store.row_of:
        usual = np.load(folder / "usual" / f"{Path(name).stem}.npy")[:, :3]
        own = store.load_points(name)["xyz"] * store.scale(name)
        sides = [float(np.ptp(xyz, axis=0).max()) for xyz in (usual, own)]
        worst = max(worst, abs(sides[0] - sides[1]) / sides[0])
    return worst


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=512, help="clouds that are read")
    parser.add_argument("--rounds", type=int, default=10, help="passes over the clouds")
    parser.add_argument("--index", type=int, default=1_000_000, help="objects of the index")
    parser.add_argument("--meshes", type=int, default=1000, help="meshes to convert; 0: none")
    parser.add_argument("--workers", type=int, default=2, help="processes that convert")
    quick = {"objects": 128, "rounds": 3, "index": 100_000, "meshes": 40}
    options = parse_options(parser, "data_loading", arguments, **quick)
    record = Record("data_loading", options, points=POINTS)
    found = measure_reading(names_of(options.objects), options.rounds, record)
    found |= measure_index(options.index, record)
    if options.meshes:
        found |= measure_conversion(options.meshes, options.workers, record)
    checks = ("xyz_difference", "rgb_difference", "stores_differ", "box_difference")
    headline = {name: value for name, value in found.items() if name not in checks}
    record.finish(headline, {name: found[name] for name in checks if name in found})


if __name__ == "__main__":
    main()
