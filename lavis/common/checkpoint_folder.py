"""The checkpoints of one job: the newest, its predecessors, and which of them is whole.

    checkpoint_last.pth           the newest
    checkpoint_step00000050.pth   predecessors, run.keep_checkpoints in all with the newest
    checkpoint_best.pth           chosen by validation, never removed here

The newest becomes a predecessor through a hard link, so there is no moment without
`checkpoint_last.pth` and nothing is copied.
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
    manifest_step,
    payload_bytes,
    save_checkpoint,
    valid_hashes,
    write_failed,
    write_manifest,
)
from lavis.common.errors import CheckpointError

LAST, BEST = "checkpoint_last.pth", "checkpoint_best.pth"
_STEP = re.compile(r"checkpoint_step(\d+)\.pth")


def save_newest(payload: Mapping[str, Any], folder: Path, step: int, keep: int) -> None:
    """Write `checkpoint_last.pth` and keep `keep` - 1 predecessors.

    Raises:
        CheckpointError: see `save_checkpoint`; nothing that was there is lost.
    """
    path = folder / LAST
    old_step = manifest_step(path)
    if keep > 1 and old_step is not None and old_step != step and path.is_file():
        try:
            _keep_as_predecessor(path, old_step)
        except OSError as error:
            raise CheckpointError(write_failed(path, payload_bytes(payload), error)) from error
    save_checkpoint(payload, path, step)
    for number, old in predecessors(folder)[max(0, keep - 1) :]:
        if number != step:
            remove(old)


def predecessors(folder: Path) -> list[tuple[int, Path]]:
    """Return (step, path) of the older checkpoints, newest first."""
    found = ((_STEP.fullmatch(path.name), path) for path in folder.glob("checkpoint_step*.pth"))
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def remove(path: Path) -> None:
    """Remove a checkpoint, manifest first: half removed it must not look whole."""
    manifest_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _keep_as_predecessor(path: Path, step: int) -> None:
    """Give the newest checkpoint a second name that survives its replacement."""
    previous = path.with_name(f"checkpoint_step{step:08d}.pth")
    partial = previous.with_name(f".{previous.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, partial)
        shutil.copystat(path, partial)  # the time decides which one is newest
    try:
        os.replace(partial, previous)
    finally:
        partial.unlink(missing_ok=True)
    try:
        write_manifest(previous, valid_hashes(path), step)
    except OSError:
        manifest_path(previous).with_name(f".{manifest_path(previous).name}.partial").unlink(True)
        raise


def find_newest(output_dir: str | Path, job_id: str | None = None) -> Path | None:
    """Return the newest whole checkpoint below `output_dir` (of one job when given).

    A damaged one is named in a warning and the one before it is tried.
    """
    for path in sorted(_candidates(Path(output_dir), job_id), key=_age, reverse=True):
        if is_valid(path) and all(is_valid(shard) for shard in shards_of(path)):
            return path
        logging.warning("%s is damaged or has no manifest: trying the one before it", path)
    return None


def shards_of(path: Path) -> list[Path]:
    """Return the shard files that belong to a checkpoint of a sharded model, [] for others."""
    step = manifest_step(path)
    return sorted(path.parent.glob(f"shard_step{step:08d}_rank*.pth")) if step is not None else []


def remove_old_shards(folder: Path) -> None:
    """Remove shards that belong to none of the folder's checkpoints."""
    kept = {manifest_step(folder / name) for name in (LAST, BEST)}
    kept |= {step for step, _ in predecessors(folder)}
    for path in folder.glob("shard_step*_rank*.pth"):
        if int(path.name[len("shard_step") :][:8]) not in kept:
            remove(path)


def _candidates(output_dir: Path, job_id: str | None) -> Iterator[Path]:
    """Yield the newest and older checkpoints of a job, or of all jobs."""
    for folder in output_dir.glob(job_id or "*"):
        if folder.is_symlink():  # `latest` is a link to one of the others
            continue
        if (folder / LAST).is_file():
            yield folder / LAST
        yield from (path for _, path in predecessors(folder))


def _age(path: Path) -> tuple[int, bool]:
    """Order by time; the newest and its link have the same."""
    return path.stat().st_mtime_ns, path.name == LAST


def forget_after(folder: Path, step: int) -> None:
    """Remove what a run that goes on from `step` will write again; a newer last is set aside."""
    for number, path in predecessors(folder):
        if number > step:
            remove(path)
    newest = manifest_step(folder / LAST)
    if newest is not None and newest > step:
        os.replace(folder / LAST, folder / f"{LAST}.set_aside")
        manifest_path(folder / LAST).unlink(missing_ok=True)
