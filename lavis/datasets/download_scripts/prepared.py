"""Prepare a folder once: one process builds, others wait, and it appears whole under its name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.bricks_text import stable_hash
from lavis.datasets.download_scripts.folder_lock import folder_lock
from lavis.datasets.manifest import MANIFEST_NAME, verify_once, write_manifest

Facts = Mapping[str, Any]


def prepare_once(
    folder: str | Path,
    parameters: Facts,
    sources: Callable[[], Facts],
    build: Callable[[Path, Path], Facts],
) -> Path:
    """Make sure that `folder` holds what these parameters and sources give.

    Args:
        folder: the target; left as it is when its manifest fits.
        parameters: what the manifest records and compares.
        sources: versions of what the content is made of; called only when there is work.
        build: gets a hidden work folder, which an interrupted run finds again, and an empty folder
            to fill; returns the counts for the manifest.

    Returns:
        The absolute folder.

    Raises:
        DataError: the folder holds something else or is damaged; the message says what to delete.
    """
    folder = Path(folder).absolute()
    if is_prepared(folder, parameters):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder.with_name(f".{folder.name}.lock")):
        if not is_prepared(folder, parameters):  # another process may have finished meanwhile
            made_of = sources()
            name = f"{stable_hash(f'{dict(parameters)}{dict(made_of)}'):016x}"
            work = folder.with_name(f".{folder.name}.partial-{name}")
            final = work / "final"
            shutil.rmtree(final, ignore_errors=True)
            final.mkdir(parents=True)
            counts = build(work, final)
            write_manifest(final, parameters=parameters, counts=counts, sources=made_of)
            os.replace(final, folder)
            shutil.rmtree(work)
    return folder


def is_prepared(folder: Path, parameters: Facts) -> bool:
    """Return whether a folder is whole and of these parameters; False where nothing is yet.

    Raises:
        DataError: it is damaged, or of other parameters.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    manifest = verify_once(folder)
    found = manifest.get("parameters") or {}
    if found != parameters:
        other = [key for key in {**found, **parameters} if found.get(key) != parameters.get(key)]
        raise DataError(
            "the folder was prepared with other parameters",
            where=str(folder / MANIFEST_NAME),
            got=", ".join(f"{key}: {found.get(key)}" for key in other),
            expected=", ".join(f"{key}: {parameters.get(key)}" for key in other),
            fix="set build_info.points to what was prepared (build_info.points.num_rooms=40 of "
            "40 rooms), delete the folder, or name another one in build_info.points.storage",
        )
    return True
