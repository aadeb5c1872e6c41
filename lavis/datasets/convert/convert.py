"""From a folder of meshes and a table of texts to a folder that `datasets.own.path` reads."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lavis.common.errors import ConfigError, DataError
from lavis.common.files import file_sha256, storing
from lavis.datasets.convert import contact_sheet, preview
from lavis.datasets.convert.columns import columns_of
from lavis.datasets.convert.engines import Engine, Piece
from lavis.datasets.convert.options import Options
from lavis.datasets.convert.pack import (
    Chosen,
    choose,
    shard_clouds,
    shown_objects,
    version_of,
    write_points,
    write_texts,
)
from lavis.datasets.convert.report import write_report
from lavis.datasets.convert.scan import Found, scan
from lavis.datasets.convert.tables import read_table
from lavis.datasets.convert.tasks import Job
from lavis.datasets.convert.texts import Joined, ObjectTexts, join
from lavis.datasets.convert.work import Work, pieces_of
from lavis.datasets.download_scripts.folder_lock import folder_lock
from lavis.datasets.manifest import MANIFEST_NAME, read_manifest, verify_once, write_manifest
from lavis.datasets.stores.tar_shards import write_shards

KIND = "own objects"
LAYOUT = 1
_PACKAGES = ("numpy", "trimesh", "pillow", "laspy", "DracoPy")


def convert(options: Options, out: Path, engine: Engine, progress: bool = True) -> dict[str, Any]:
    """Convert a folder, or go on with an interrupted conversion; return the manifest.

    Args:
        options: what to convert.
        out: the target; it appears in one step, when everything is on the disk.
        engine: converts the pieces, see engines.py.
        progress: show a bar with the time left.

    Raises:
        DataError: unusable input, or a target that holds something else.
        ConfigError: a column of `options.columns` that is not there.
        StorageError: the disk is full; finished work is kept.
    """
    out = out.absolute()
    _check_apart(options.source, out)
    found = scan(options.source.absolute(), options.table)
    joined = _join(options, found)
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(out.with_name(f".{out.name}.lock")):
        if _is_converted(out, options, found):
            return verify_once(out)
        folder = out.with_name(f".{out.name}.partial")
        pieces = pieces_of(_jobs(options, found))
        work = Work(folder)
        _run(work, pieces, engine, progress)
        final = folder / "final"
        shutil.rmtree(final, ignore_errors=True)
        with storing(final, 0):
            final.mkdir()
            manifest = _finish(final, work, pieces, options, found, joined)
            os.replace(final, out)
        shutil.rmtree(folder)
    return manifest


def _check_apart(source: Path, out: Path) -> None:
    """Refuse a target in the user's folder, whose arrays the next conversion would read."""
    if out.resolve().is_relative_to(source.resolve()):
        what, fix = "the target is in the folder that is converted", "name another --out"
        raise ConfigError(what, where="--out", got=str(out), fix=fix)


def _join(options: Options, found: Found) -> Joined:
    if options.table is None:
        return Joined()
    rows = read_table(options.table, options.encoding)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = columns_of(names, options.columns, str(options.table))
    return join(rows, columns, found.objects)


def _jobs(options: Options, found: Found) -> list[Job]:
    root = options.source.absolute()
    return [
        Job(name, str(root / path), str(root), options.num_points, options.seed, options.up)
        for name, path in found.objects.items()
    ]


def _run(work: Work, pieces: Sequence[Piece], engine: Engine, progress: bool) -> None:
    """Convert the pieces that are not finished."""
    missing = [piece for piece in pieces if not work.has(piece)]
    total = sum(len(piece.jobs) for piece in pieces)
    done = total - sum(len(piece.jobs) for piece in missing)
    if done:
        logging.info("%d of %d files were converted before", done, total)
    bar = tqdm(total=total, initial=done, unit="file", desc="Converting", disable=not progress)
    with bar, closing(engine(missing)) as results:  # at an error its processes end at once
        for piece, content in results:
            work.store(piece, content)
            bar.update(len(piece.jobs))


def _finish(
    final: Path,
    work: Work,
    pieces: Sequence[Piece],
    options: Options,
    found: Found,
    joined: Joined,
) -> dict[str, Any]:
    """Write everything into the folder that becomes the target; the manifest is last."""
    chosen = choose(work, pieces, joined, options.val, options.test)
    shown = shown_objects(chosen.facts, max(contact_sheet.MOST, preview.MOST))
    clouds = write_points(final, work, pieces, chosen.facts, shown)
    if options.shard_size:
        results = work.results(pieces, with_points=True)
        write_shards(shard_clouds(results, chosen.facts), final / "shards", options.shard_size)
    counts = write_texts(final, chosen, joined.has)
    counts["version"] = version_of(final)
    report = write_report(final / "report.json", found, joined, chosen, counts, options.up)
    _write_pictures(final, chosen, clouds, report)
    return write_manifest(
        final,
        kind=KIND,
        layout=LAYOUT,
        version=counts["version"],
        up_axis="y",
        units="as in the files",
        parameters=options.parameters(),
        counts=counts,
        sources={**_sources(options, found), "packages": _versions()},
    )


def _write_pictures(
    final: Path, chosen: Chosen, clouds: Mapping[str, np.ndarray], report: Mapping[str, Any]
) -> None:
    """Write contact_sheet.png and preview.html."""
    titles = {name: (chosen.texts.get(name) or ObjectTexts()).title() for name in clouds}
    sheet = shown_objects(chosen.facts, contact_sheet.MOST)
    contact_sheet.write_contact_sheet(
        final / "contact_sheet.png", [(name, titles[name]) for name in sheet], clouds.__getitem__
    )
    page = shown_objects(chosen.facts, preview.MOST)
    preview.write_preview(
        final / "preview.html", page, chosen.facts, chosen.texts, clouds.__getitem__, report
    )


def _is_converted(out: Path, options: Options, found: Found) -> bool:
    """Return whether the target holds these files; False when there is nothing yet.

    Raises:
        DataError: it holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    manifest = read_manifest(out)
    now = {"parameters": options.parameters(), **_sources(options, found)}
    then = {"parameters": manifest.get("parameters"), **manifest.get("sources", {})}
    changed = [name for name, value in now.items() if then.get(name) != value]
    if manifest.get("kind") != KIND or changed:
        raise DataError(
            "the target holds another conversion",
            where=str(out / MANIFEST_NAME),
            got=f"other {', '.join(changed) or 'data'}",
            fix=f"delete {out} to convert again, or name another folder with --out",
        )
    return True


def _sources(options: Options, found: Found) -> dict[str, Any]:
    """Return what the data are made of: names and sizes of the files, and the table."""
    root = options.source.absolute()
    listed = [f"{path} {(root / path).stat().st_size}" for path in found.objects.values()]
    return {
        "files": len(listed),
        "files_sha256": hashlib.sha256("\n".join(listed).encode()).hexdigest(),
        "table_sha256": None if options.table is None else file_sha256(options.table),
    }


def _versions() -> dict[str, str]:
    """Return the versions of the packages that decide the bytes."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
