"""Checkpoints: written atomically, verified by hash, read without executing anything.

The manifest `x.pth.json` of a checkpoint `x.pth` holds the valid hashes. Saving
first lists the old and the new hash, then replaces the file, then lists the new one alone: whenever
the process is killed, the file in place is whole and its hash is in the manifest. In between, the
manifest also holds the step and run of the new hash (`next`).
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.common.errors import CheckpointError, nearest_file
from lavis.common.files import file_sha256, free_bytes, whole_file

FORMAT = 1
_REFUSED_TYPE = re.compile(r"GLOBAL ([\w.]+)")
_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError)
_TERMINAL_CODE = re.compile(r"\x1b\[[0-9;]*m")


def save_checkpoint(payload: Mapping[str, Any], path: str | Path, step: int | None = None) -> None:
    """Write `payload` to `path` so that a reader sees the old file or the new one, never a part.

    Args:
        payload: plain Python values and tensors; its `run_id` is noted in the manifest.
        path: the checkpoint; its folder exists.
        step: optimiser step, noted in the manifest so that retention need not read the file.

    Raises:
        CheckpointError: the disk is full or not writable; the previous file is untouched and
            nothing of the attempt is left.
    """
    path = Path(path)
    needed = payload_bytes(payload)
    try:
        if needed > shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with whole_file(path) as partial:
            with open(partial, "wb") as file:
                torch.save(dict(payload), file)
                file.flush()
                os.fsync(file.fileno())
            digest = file_sha256(partial)
            both, coming = [*valid_hashes(path), digest], (digest, step, payload.get("run_id"))
            write_manifest(path, both, manifest_step(path), manifest_run(path), coming)
        write_manifest(path, [digest], *coming[1:])
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write (disk full) as RuntimeError.
        raise write_failed(path, needed, error) from error


def payload_bytes(payload: Any) -> int:
    """Return the bytes of all tensors in nested mappings and lists: about what a file takes."""
    if isinstance(payload, torch.Tensor):
        return payload.nbytes
    if isinstance(payload, Mapping):
        return sum(payload_bytes(value) for value in payload.values())
    if isinstance(payload, (list, tuple)):
        return sum(payload_bytes(value) for value in payload)
    return 0


def write_failed(path: Path, needed: int, error: Exception) -> CheckpointError:
    """Return the error of a save that failed."""
    where, got = str(path), f"{error} ({free_bytes(path):,} bytes free)"
    if not path.parent.is_dir():
        what, fix = (
            "the folder of a checkpoint is gone",
            f"start again; keep {path.parent} while a run writes",
        )
        return CheckpointError(what, where=where, got=got, fix=fix)
    return CheckpointError(
        "a checkpoint could not be written; the previous one is untouched",
        where=where,
        got=got,
        expected=f"at least {needed:,} bytes",
        fix=f"free space below {path.parent} or point run.output_dir elsewhere",
    )


def load_checkpoint_file(
    path: str | Path, key: str = "run.resume_ckpt_path", verify: bool = True
) -> dict[str, Any]:
    """Read a checkpoint (.pth, .pt, .bin with weights only; .safetensors) onto the CPU.

    Args:
        path: the file.
        key: the yaml key that named it, for messages.
        verify: compare with the manifest's hash when there is a manifest.

    Returns:
        The stored mapping; for .safetensors {"model": state dict}.

    Raises:
        CheckpointError: missing or damaged file, wrong hash, or content other than tensors and
            plain values (which is refused, not executed).
    """
    path = Path(path).expanduser()
    if not path.is_file():
        fix = f"correct {key}{nearest_file(path)}"
        raise CheckpointError("a checkpoint is missing", where=key, got=path, fix=fix)
    if verify:
        _verify(path, key)
    if path.suffix == ".safetensors":
        return {"model": read_file(path, key)}
    payload = read_file(path, key)
    if not isinstance(payload, dict):
        got = type(payload).__name__
        raise CheckpointError("a checkpoint is a mapping", where=f"{key}: {path}", got=got)
    return payload


def read_file(path: Path, key: str) -> Any:
    """Read a file of weights onto the CPU without running code from it.

    Beside tensors and plain values it may hold what training scripts store with them: a command
    line (argparse.Namespace) and numpy's scalars and arrays.

    Args:
        path: .safetensors, or a file of torch.save.
        key: the yaml key that named it, for messages.

    Raises:
        CheckpointError: a damaged file, or one that holds another type, which is named.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        with torch.serialization.safe_globals(_harmless_types()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (*_UNREADABLE, SafetensorError) as error:
        raise _unreadable(error, f"{key}: {path}") from error


def _unreadable(error: Exception, where: str) -> CheckpointError:
    """Return the error of a file that cannot be read, or holds a type that is refused."""
    text = _TERMINAL_CODE.sub("", str(error))
    refused = _REFUSED_TYPE.search(text)
    if refused:
        return CheckpointError(
            "a checkpoint is refused",
            where=where,
            got=f"an object of type {refused[1]}",
            expected="tensors, plain values and numpy values: anything else could run code",
            fix="re-save its state dict, as .safetensors if you can",
        )
    foreign = isinstance(error, pickle.UnpicklingError)
    return CheckpointError(
        "a checkpoint cannot be read",
        where=where,
        got="no file of torch.save" if foreign else (text.splitlines() or [repr(error)])[0],
        fix="use another checkpoint: this file is truncated or no checkpoint",
    )


def _harmless_types() -> list[Any]:
    """Return the types, in addition to torch's list, that load without running code of the file."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    names = [(scalar, "numpy.core.multiarray.scalar"), scalar]
    names += [(array, "numpy.core.multiarray._reconstruct"), array, np.ndarray, np.dtype]
    kinds = (np.bool_, *np.sctypeDict.values())
    dtypes = {type(np.dtype(kind)) for kind in kinds if np.dtype(kind).kind in "biufcSU"}
    return [argparse.Namespace, *names, *sorted(dtypes, key=str)]


def is_valid(path: str | Path) -> bool:
    """Return whether a checkpoint is there and its hash is in its manifest."""
    return Path(path).is_file() and file_sha256(path) in valid_hashes(Path(path))


def manifest_path(path: Path) -> Path:
    """Return where the manifest of a checkpoint is."""
    return path.with_name(path.name + ".json")


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint, {} when there is none that can be read."""
    try:
        content = json.loads(manifest_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def valid_hashes(path: Path) -> list[str]:
    """Return the hashes of a checkpoint's manifest, [] when it has none."""
    hashes = read_manifest(path).get("sha256")
    return list(hashes) if isinstance(hashes, list) else []


def manifest_step(path: Path) -> int | None:
    """Return the optimiser step in the manifest; None without one."""
    step = _noted(path).get("step")
    return step if isinstance(step, int) else None


def manifest_run(path: Path) -> str | None:
    """Return the id of the run that saved a checkpoint; a resumed run keeps its id."""
    run = _noted(path).get("run")
    return run if isinstance(run, str) else None


def _noted(path: Path) -> dict[str, Any]:
    """Return the manifest's entry for the file in place, also after an interrupted save."""
    content = read_manifest(path)
    coming = content.get("next")
    if isinstance(coming, dict) and path.is_file() and file_sha256(path) == coming.get("sha256"):
        return coming
    return content


def settle_manifest(path: Path) -> None:
    """Finish the manifest of a save that was killed before it did, if the file is whole."""
    if "next" not in read_manifest(path) or not path.is_file():
        return
    found = file_sha256(path)
    if found in valid_hashes(path):
        write_manifest(path, [found], manifest_step(path), manifest_run(path))


def write_manifest(
    path: Path,
    hashes: list[str],
    step: int | None = None,
    run: str | None = None,
    coming: tuple[str, int | None, str | None] | None = None,
) -> None:
    """Replace the manifest of `path` in one step.

    Args:
        path: of the checkpoint.
        hashes: those that are valid.
        step, run: of the file in place.
        coming: hash, step and run of the file that is about to replace it.
    """
    content = {"format": FORMAT, "file": path.name, "sha256": hashes, "step": step, "run": run}
    if coming is not None:
        content["next"] = dict(zip(("sha256", "step", "run"), coming))
    write_text_atomic(manifest_path(path), json.dumps(content))


def write_text_atomic(path: Path, text: str) -> None:
    """Replace a text file in one step, on the disk when this returns."""
    with whole_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Write the renames in `folder` to the disk, so that they survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _verify(path: Path, key: str) -> None:
    """Refuse a file whose hash is not in its manifest; a file without manifest passes."""
    if not manifest_path(path).is_file():
        return
    valid, found = valid_hashes(path), file_sha256(path)
    if found not in valid:
        fix = "use another checkpoint: this one changed or was damaged after it was saved"
        raise CheckpointError(
            "a checkpoint is damaged", where=f"{key}: {path}", got=found, expected=valid, fix=fix
        )
