"""The checkpoints of one job: the newest, its predecessors, and which of them is whole.

    checkpoint_last.pth           the newest
    checkpoint_step00000050.pth   predecessors, run.keep_checkpoints in all with the newest
    checkpoint_best.pth           chosen by validation, never removed here

The newest becomes a predecessor through a hard link, so there is no moment without
`checkpoint_last.pth` and nothing is copied. The manifest's step decides which one is newest: the
times of files do not survive a copy, and a clock may be set back.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lavis.common.checkpoint import (
    is_valid,
    manifest_path,
    manifest_run,
    manifest_step,
    payload_bytes,
    save_checkpoint,
    settle_manifest,
    valid_hashes,
    write_failed,
    write_manifest,
)
from lavis.common.errors import CheckpointError
from lavis.common.files import whole_file

LAST, BEST = "checkpoint_last.pth", "checkpoint_best.pth"
_STEP = re.compile(r"checkpoint_step(\d+)\.pth")


def save_newest(payload: Mapping[str, Any], folder: Path, step: int, keep: int) -> None:
    """Write `checkpoint_last.pth` and keep `keep` - 1 predecessors.

    Raises:
        CheckpointError: see `save_checkpoint`; existing checkpoints are kept.
    """
    path = folder / LAST
    old_step = manifest_step(path)
    if keep > 1 and old_step is not None and old_step != step and path.is_file():
        try:
            settle_manifest(path)
            _keep_as_predecessor(path, old_step)
        except OSError as error:
            raise write_failed(path, payload_bytes(payload), error) from error
    save_checkpoint(payload, path, step)
    run = manifest_run(path)
    # Those of an earlier run in the same folder go first, whatever their step.
    older = sorted(predecessors(folder), key=lambda item: manifest_run(item[1]) != run)
    for number, old in older[max(0, keep - 1) :]:
        if number != step:
            remove(old)


def predecessors(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, path) of the older checkpoints, newest first."""
    found = ((_STEP.fullmatch(path.name), path) for path in folder.glob("checkpoint_step*.pth"))
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def remove(path: Path) -> None:
    """Remove a checkpoint, manifest first: a partial removal must not look complete."""
    manifest_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _keep_as_predecessor(path: Path, step: int) -> None:
    """Give the newest checkpoint a second name that survives its replacement."""
    previous = path.with_name(f"checkpoint_step{step:08d}.pth")
    with whole_file(previous) as partial:
        partial.unlink(missing_ok=True)
        try:
            os.link(path, partial)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, partial)
    write_manifest(previous, valid_hashes(path), step, manifest_run(path))


def find_newest(output_dir: str | Path, job_id: str | None = None) -> Path | None:
    """Return the whole checkpoint of the highest step below `output_dir` (of one job when given).

    A damaged one is named in a warning and the one before it is tried. Several jobs are compared by
    their steps, too, and named in a warning.
    """
    base = Path(output_dir)
    folders = [base / job_id] if job_id else [path for path in base.glob("*") if _is_job(path)]
    if len(folders) > 1:
        names = ", ".join(sorted(folder.name for folder in folders))
        logging.warning(
            "run.job_id is not set: resuming from the highest step among the jobs %s", names
        )
    for path in sorted((p for f in folders for p in _candidates(f)), key=_progress, reverse=True):
        if is_whole(path):
            return path
        logging.warning("%s is damaged or has no manifest: trying the one before it", path)
    return None


def is_whole(path: Path) -> bool:
    """Return whether a checkpoint and its shards match their manifests."""
    return is_valid(path) and all(is_valid(shard) for shard in shards_of(path))


def shards_of(path: Path) -> list[Path]:
    """Return the shard files that belong to a checkpoint of a sharded model, [] for others."""
    step = manifest_step(path)
    return sorted(path.parent.glob(f"shard_step{step:08d}_rank*.pth")) if step is not None else []


def remove_old_shards(folder: Path) -> None:
    """Remove shards that belong to none of the folder's checkpoints."""
    kept = {manifest_step(folder / name) for name in (LAST, BEST)}
    kept |= {step for step, _ in predecessors(folder)}
    kept |= {manifest_step(path) for path in folder.glob("*.set_aside*") if path.suffix != ".json"}
    for path in folder.glob("shard_step*_rank*.pth"):
        if int(path.name[len("shard_step") :][:8]) not in kept:
            remove(path)


def _is_job(folder: Path) -> bool:
    """Return whether a folder holds checkpoints; `latest` is a link to one that does."""
    return not folder.is_symlink() and ((folder / LAST).is_file() or bool(predecessors(folder)))


def _candidates(folder: Path) -> Iterator[Path]:
    """Yield the newest and older checkpoints of a job."""
    if (folder / LAST).is_file():
        yield folder / LAST
    yield from (path for _, path in predecessors(folder))


def _step(path: Path) -> int:
    """Return the step of a checkpoint by its manifest, else by its name, else -1."""
    named = _STEP.fullmatch(path.name)
    noted = manifest_step(path)
    return noted if noted is not None else int(named[1]) if named else -1


def _progress(path: Path) -> tuple[bool, int, bool, int]:
    """Return the sort key: the folder's last run first, then the step, then the time."""
    last = path.parent / LAST
    of_last_run = not last.is_file() or manifest_run(path) == manifest_run(last)
    return of_last_run, _step(path), path.name == LAST, path.stat().st_mtime_ns


def go_on_from(folder: Path, step: int) -> None:
    """Set aside the damaged checkpoints that a run from `step` would replace, with a warning.

    Raises:
        CheckpointError: a whole checkpoint of the same run is newer; it is left as it is.
    """
    run = manifest_run(folder / LAST)
    for path in list(_candidates(folder)):
        if 0 <= _step(path) <= step:
            continue
        if not is_whole(path):
            _set_aside(path)
        elif manifest_run(path) == run:
            raise CheckpointError(
                "the job's folder holds a newer checkpoint than the one to resume from",
                where=f"run.resume_ckpt_path: {path}",
                got=f"step {step}",
                expected=f"step {_step(path)}, or another folder",
                fix="--resume auto, or set another run.job_id to continue from the older one",
            )


def _set_aside(path: Path) -> None:
    """Rename a damaged checkpoint and its manifest, never over an earlier one."""
    aside, number = path.with_name(f"{path.name}.set_aside"), 2
    while aside.exists():
        aside, number = path.with_name(f"{path.name}.set_aside{number}"), number + 1
    logging.warning("%s is damaged: kept as %s", path, aside.name)
    os.replace(path, aside)
    if manifest_path(path).is_file():
        os.replace(manifest_path(path), manifest_path(aside))
