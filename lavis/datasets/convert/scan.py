"""Find the files of a folder that hold an object, and name the objects."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lavis.common.errors import DataError
from lavis.datasets.convert.mesh_files import MESH_SUFFIXES
from lavis.datasets.convert.up_axis import CONVENTION

# Formats of 3D data and archives that are named in the report; other files are only counted.
NOT_READ = {
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2"), "unpack it first"),
    **dict.fromkeys((".fbx", ".blend", ".dae", ".3ds", ".max", ".x3d"), "export it as .glb"),
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz", ".abc", ".ifc"), "export it as .glb"),
    **dict.fromkeys((".step", ".stp", ".iges", ".igs"), "export it as .stl or .glb"),
    **dict.fromkeys((".h5", ".hdf5", ".mat", ".e57"), "save an .npz or .ply per object"),
}


@dataclass
class Found:
    """The files of a folder.

    Attributes:
        objects: {object id: path below the folder}, in the order of ids.
        skipped: {path: reason} of files that seem to hold an object and are not read.
        others: {suffix: number} of the files that hold none.
    """

    objects: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def scan(folder: Path, leave_out: Path | None = None) -> Found:
    """Return the objects of a folder; hidden files are left out, links to folders not followed.

    An object's id is its path below the folder without the suffix.

    Args:
        folder: of the user.
        leave_out: the table of captions, which may lie in the folder.

    Raises:
        DataError: no such folder, or no file that can be read.
    """
    if not folder.is_dir():
        got = "a file" if folder.exists() else "missing"
        what = "the folder of meshes or clouds cannot be read"
        raise DataError(what, where=str(folder), got=got, expected="a folder")
    found = Found()
    for relative in sorted(_files(folder)):
        path = folder / relative
        if leave_out is None or path.resolve() != leave_out.resolve():
            _add(found, relative, path)
    found.objects = dict(sorted(found.objects.items()))
    if not found.objects:
        raise _nothing(folder, found)
    return found


def _files(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _add(found: Found, relative: str, path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in NOT_READ:
        found.skipped[_shown(relative)] = f"{suffix} is not read: {NOT_READ[suffix]}"
    elif suffix not in CONVENTION:
        found.others[suffix or "no suffix"] += 1
    elif _shown(relative) != relative:
        found.skipped[_shown(relative)] = "a file name that is not UTF-8"
    elif not path.is_file():
        found.skipped[relative] = "no regular file"
    elif (object_id := str(PurePosixPath(relative).with_suffix(""))) in found.objects:
        found.skipped[relative] = f"the id {object_id} is that of {found.objects[object_id]}, too"
    else:
        found.objects[object_id] = relative


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _nothing(folder: Path, found: Found) -> DataError:
    reasons = [f"{name}: {why}" for name, why in list(found.skipped.items())[:3]]
    others = [f"{count} {suffix}" for suffix, count in found.others.most_common(8)]
    return DataError(
        "the folder holds no mesh or cloud that is read",
        where=str(folder),
        got="; ".join([*reasons, *others]) or "no files",
        expected=" ".join([*MESH_SUFFIXES, *sorted(set(CONVENTION) - set(MESH_SUFFIXES))]),
    )


def names_of(objects: dict[str, str]) -> dict[str, set[str]]:
    """Return {name: ids} of all names by which a table may call an object.

    These are its path with and without suffix, its file's name with and without suffix, and every
    folder above it: of <id>/model.obj the folder is the name, as long as it holds one object.
    """
    names: dict[str, set[str]] = defaultdict(set)
    for object_id, relative in objects.items():
        path = PurePosixPath(relative)
        folders = [p for p in path.parents if p.name]
        called = [object_id, relative, path.name, path.stem]
        called += [str(folder) for folder in folders] + [folder.name for folder in folders]
        for name in called:
            names[name].add(object_id)
    return dict(names)


def find(name: str, objects: dict[str, str], names: dict[str, set[str]]) -> set[str]:
    """Return the ids that a name of a table may mean: one where it is known."""
    name = name.strip().replace("\\", "/").removeprefix("./")
    if name in objects:
        return {name}
    return names.get(name, set())
