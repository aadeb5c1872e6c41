"""Checkpoints: written atomically, verified by hash, read without executing anything.

A checkpoint `x.pth` has a manifest `x.pth.json` beside it with the hashes that are valid. Saving
first lists the old and the new hash, then replaces the file, then lists the new one alone: whenever
the process is killed, the file in place is whole and its hash is in the manifest.

Model states hold the trainable parameters and all buffers (running statistics of batch
normalisation included). Frozen parameters are left out: they come from the recipe.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lavis.common.errors import CheckpointError, explain, nearest

FORMAT = 1


def save_checkpoint(payload: Mapping[str, Any], path: str | Path) -> None:
    """Write `payload` to `path` so that a reader sees the old file or the new one, never a part.

    Args:
        payload: plain Python values and tensors.
        path: the checkpoint; its folder exists.

    Raises:
        CheckpointError: the disk is full or not writable; the previous file is untouched.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            torch.save(dict(payload), file)
            file.flush()
            os.fsync(file.fileno())
        digest = file_hash(partial)
        _write_manifest(path, [*_valid_hashes(path), digest])
        os.replace(partial, path)
        _write_manifest(path, [digest])
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write (disk full) as RuntimeError.
        partial.unlink(missing_ok=True)
        fix = f"free space below {path.parent} or point run.output_dir elsewhere"
        message = explain("a checkpoint could not be written", where=str(path), got=error, fix=fix)
        raise CheckpointError(message) from error


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
        fix = f"correct {key}{_similar_file(path)}"
        raise CheckpointError(explain("a checkpoint is missing", where=key, got=path, fix=fix))
    if verify:
        _verify(path, key)
    if path.suffix == ".safetensors":
        return {"model": _load_safetensors(path, key)}
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        got = str(error).splitlines()[0]
        expected = "tensors and plain values only: anything else could run code"
        fix = "re-save its state dict, as .safetensors if you can"
        raise CheckpointError(
            explain(
                "a checkpoint is refused",
                where=f"{key}: {path}",
                got=got,
                expected=expected,
                fix=fix,
            )
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        got = (str(error).splitlines() or [type(error).__name__])[0]
        fix = "use another checkpoint: this file is truncated or no checkpoint"
        raise CheckpointError(
            explain("a checkpoint cannot be read", where=f"{key}: {path}", got=got, fix=fix)
        ) from error
    if not isinstance(payload, dict):
        got = type(payload).__name__
        raise CheckpointError(explain("a checkpoint is a mapping", where=f"{key}: {path}", got=got))
    return payload


def _load_safetensors(path: Path, key: str) -> dict[str, torch.Tensor]:
    """Read a .safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            explain("a checkpoint cannot be read", where=f"{key}: {path}", got=error)
        ) from error


def trainable_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state dict without frozen parameters; buffers stay."""
    frozen = frozen_names(model)
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def frozen_names(model: nn.Module) -> set[str]:
    """Return the names (every alias of tied ones too) of parameters that are not trained."""
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad}


def load_trainable_state(model: nn.Module, state: Mapping[str, torch.Tensor], where: str) -> None:
    """Load what `trainable_state` returned: strict, except that frozen parameters may be absent.

    Raises:
        CheckpointError: any other name is missing, unknown or of another shape; the message lists
            them by module, with shapes.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state and name not in frozen_names(model)]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        raise CheckpointError(
            explain(
                "a checkpoint does not fit the model",
                where=where,
                got=model_report(missing, unexpected, shapes),
                expected="the model section the checkpoint was trained with",
                fix="compare with the config.yaml beside the checkpoint",
            )
        )
    model.load_state_dict(dict(state), strict=False)


def model_report(
    missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[str] = ()
) -> str:
    """Summarise names that did not match, counted per module: one line each."""
    lines = []
    for title, names in (("missing", missing), ("unexpected", unexpected), ("shape", shapes)):
        by_module: dict[str, list[str]] = {}
        for name in names:
            by_module.setdefault(name.split(".")[0], []).append(name)
        for module, members in by_module.items():
            more = f" and {len(members) - 1} more" if len(members) > 1 else ""
            lines.append(f"{title}: {module} ({members[0]}{more})")
    return "; ".join(lines) or "every name matched"


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_valid(path: str | Path) -> bool:
    """Tell whether a checkpoint is there and its hash is in its manifest."""
    return Path(path).is_file() and file_hash(path) in _valid_hashes(Path(path))


def find_newest(output_dir: str | Path, job_id: str | None = None) -> Path | None:
    """Return the newest whole `checkpoint_last.pth` below `output_dir` (of one job when given)."""
    pattern = f"{job_id or '*'}/checkpoint_last.pth"
    # `latest` is a link to one of the others.
    found = [p for p in Path(output_dir).glob(pattern) if not p.parent.is_symlink()]
    for path in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True):
        if is_valid(path):
            return path
    return None


def _manifest(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _valid_hashes(path: Path) -> list[str]:
    """Return the hashes of a checkpoint's manifest, [] when it has none."""
    try:
        return list(json.loads(_manifest(path).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _write_manifest(path: Path, hashes: list[str]) -> None:
    """Replace the manifest of `path` in one step."""
    partial = path.with_name(f".{path.name}.json.partial")
    with open(partial, "w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, "file": path.name, "sha256": hashes}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, _manifest(path))


def _sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _verify(path: Path, key: str) -> None:
    """Refuse a file whose hash is not in its manifest; a file without manifest passes."""
    if not _manifest(path).is_file():
        return
    valid, found = _valid_hashes(path), file_hash(path)
    if found not in valid:
        fix = "use another checkpoint: this one changed or was damaged after it was saved"
        raise CheckpointError(
            explain(
                "a checkpoint is damaged",
                where=f"{key}: {path}",
                got=found,
                expected=valid,
                fix=fix,
            )
        )


def _similar_file(path: Path) -> str:
    """Return a hint that names the most similar checkpoint of the same folder."""
    if not path.parent.is_dir():
        return f": the folder {path.parent} does not exist"
    return "." + nearest(path.name, [p.name for p in path.parent.iterdir() if p.is_file()])
