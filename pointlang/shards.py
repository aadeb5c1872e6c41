"""Predictions of many files as shards in a folder: every input exactly once, resumable.

    python -m torch.distributed.run --nproc_per_node=8 -m pointlang predict big/ --out predictions

The files are divided into shards in a fixed order. A shard appears whole or not at all, and one
that is there is not computed again; so a killed worker, or the whole command, is started again
with the same arguments. Ranks share the shards by number and need no process group.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from lavis.common.errors import ConfigError, DependencyError
from lavis.common.files import replace_file
from pointlang.task import Record, Task, predict

PLAN = "plan.json"
FORMATS = ("jsonl", "parquet")
# May change between two starts of one command, without changing a prediction's meaning.
_NOT_COMPARED = ("device", "points_folder")


@dataclass(frozen=True)
class Shard:
    """Files whose predictions are one file.

    Attributes:
        path: of the predictions; the suffix is the format.
        files: in their order.
    """

    path: Path
    files: tuple[str, ...]


def plan(task: Task, files: Sequence[str], folder: Path, size: int, kind: str) -> list[Shard]:
    """Divide files into shards, and note in the folder what it holds.

    Raises:
        ConfigError: the folder holds predictions of other files or options.
        DependencyError: parquet without pyarrow.
        StorageError: the folder cannot be written.
    """
    if kind == "parquet" and find_spec("pyarrow") is None:
        fix = "pip install -r requirements-parquet.txt, or --format jsonl"
        raise DependencyError("pyarrow is not installed.", where="--format", fix=fix)
    digest = hashlib.sha256("\n".join(files).encode("utf-8", "surrogateescape")).hexdigest()
    settings = {key: value for key, value in asdict(task).items() if key not in _NOT_COMPARED}
    own = {"task": settings, "inputs": len(files), "sha256": digest, "size": size, "format": kind}
    _note(folder / PLAN, json.loads(json.dumps(own)))
    groups = [tuple(files[start : start + size]) for start in range(0, len(files), size)]
    return [Shard(folder / f"part-{k:06d}.{kind}", group) for k, group in enumerate(groups)]


def _note(path: Path, own: dict[str, Any]) -> None:
    """Write the plan, or compare it with the one that is there."""
    if not path.exists():
        _write_first(path, json.dumps(own, indent=1).encode())
    found = json.loads(path.read_text(encoding="utf-8"))
    differing = [key for key in own if found.get(key) != own[key]]
    if differing:
        raise ConfigError(
            "The folder holds predictions of other files or options.",
            where=f"--out {path.parent}",
            got=f"another {', '.join(differing)}",
            fix="name another folder, or give the first command again to continue it",
        )


def _write_first(path: Path, content: bytes) -> None:
    """Write a file unless another rank was faster: a rank that lists other files is refused."""
    waiting = path.with_name(f".{path.name}.{uuid4().hex}")
    replace_file(waiting, content)
    try:
        os.link(waiting, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        replace_file(path, content)
    finally:
        waiting.unlink(missing_ok=True)


def own_shards(shards: Sequence[Shard]) -> list[Shard]:
    """Return the shards of this process under torch.distributed.run; else all."""
    rank, world_size = (int(os.environ.get(n, d)) for n, d in (("RANK", "0"), ("WORLD_SIZE", "1")))
    return list(shards[rank::world_size])


def run_here(task: Task, shards: Sequence[Shard]) -> Iterator[int]:
    """Predict shards in this process; yields the number of files of each when it is there."""
    for shard in shards:
        predict_shard(task, shard)
        yield len(shard.files)


def predict_shard(task: Task, shard: Shard) -> None:
    """Write the predictions of a shard, unless they are there."""
    if not shard.path.exists():
        replace_file(shard.path, encode(list(predict(task, shard.files)), shard.path.suffix))


def encode(records: Sequence[Record], suffix: str) -> bytes:
    """Return records as the bytes of a file: .jsonl or .parquet."""
    if suffix == ".jsonl":
        return "".join(line(record) + "\n" for record in records).encode()
    return _parquet(records)


def line(record: Record) -> str:
    """Return a record as one line of JSON."""
    return json.dumps(record, ensure_ascii=True)


def _parquet(records: Sequence[Record]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    names = dict.fromkeys(["file", "error", *(name for record in records for name in record)])
    texts = {name for r in records for name, value in r.items() if isinstance(value, str)}
    columns = {
        name: pyarrow.array(
            [record.get(name) for record in records],
            # A shard without errors has the column, too: all shards have one schema.
            pyarrow.string() if name in texts | {"file", "error"} else None,
        )
        for name in names
    }
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()
