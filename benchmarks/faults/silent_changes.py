"""Figure 21: prepared data and results that change without a change of size."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.processes import Figure
from lavis.common.errors import PointLanguageError
from lavis.datasets.manifest import verify_once
from lavis.datasets.stores.packed_fields import FieldLayout, PackedFieldStore, PackedFieldWriter
from lavis.datasets.stores.tar_shards import TarShardStore, prepare_shards, write_shards
from lavis.evaluation.result_hashes import check_hashes
from lavis.tasks.point_task import Scores, write_results

OBJECTS = 20


def write_data(folder: Path) -> Path:
    """Write a small packed data set."""
    rng = np.random.default_rng(0)
    with PackedFieldWriter(folder, {"xyz": FieldLayout("float32", 3)}) as writer:
        for number in range(OBJECTS):
            writer.write(f"object{number:02d}", {"xyz": rng.random((64, 3), np.float32)})
    return folder


def write_result(folder: Path, value: float) -> Path:
    """Write the files of an evaluation; return the metrics file."""
    folder.mkdir(exist_ok=True)
    scores = Scores(metrics={}, baselines={}, agg_metrics=value)
    scores.per_item = {"score": {f"object{n:02d}": value for n in range(3)}}
    predictions = [{"image_id": f"object{n:02d}", "caption": f"{value}"} for n in range(3)]
    write_results(folder, "test", predictions, {"agg": value}, scores)
    return folder / "test_metrics.json"


def change_byte(path: Path, rng: random.Random, keep_times: bool) -> None:
    """Change one byte in place."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    if keep_times:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def refused(check: Callable[[], Any]) -> bool:
    """Return whether a check raises an error of ours."""
    try:
        check()
    except PointLanguageError:
        return True
    return False


def changed_bytes(folder: Path, trials: int) -> int:
    """Change one byte of one file, before and after a first use; return how many were refused."""
    rng, found = random.Random(0), 0
    for trial in range(trials):
        data = write_data(folder / f"data{trial}")
        if trial % 2:
            PackedFieldStore(data)  # leaves the mark of a comparison
        files = sorted(path for path in data.iterdir() if path.name != "manifest.json")
        change_byte(rng.choice(files), rng, keep_times=trial % 4 < 2)
        found += refused(lambda data=data: PackedFieldStore(data))  # type: ignore[misc]
    return found


def swapped_ids(folder: Path) -> bool:
    """Swap two ids: same size, same letters."""
    data = write_data(folder / "swapped")
    path = data / "object_ids.json"
    text = path.read_text().replace("object00", "#").replace("object01", "object00")
    path.write_text(text.replace("#", "object01"))
    return refused(lambda: PackedFieldStore(data))


def mixed_results(folder: Path) -> int:
    """Put each file of one evaluation beside the others of a second; return how many refused."""
    found = 0
    for name in ("test.json", "test_metrics.json", "test_items.json"):
        old, new = write_result(folder / "old", 0.25), write_result(folder / f"new-{name}", 0.75)
        new.with_name(name).write_bytes(old.with_name(name).read_bytes())
        found += refused(lambda new=new: check_hashes(new))  # type: ignore[misc]
    return found


def shards_of_one_name(folder: Path) -> bool:
    """Copy two shards of the same file name to one cache; return whether both are there."""
    addresses = []
    for place in ("train", "val"):
        shard = write_shards([(place, np.ones((5, 3), np.float32))], folder / place, 9)[0]
        addresses.append(f"file://{shard}")
    found = prepare_shards(addresses, folder / "cache")
    return [list(TarShardStore([path]).members) for path in found] == [["train"], ["val"]]


def fig21(folder: Path, quick: bool) -> Figure:
    """Every change is refused; unchanged data are compared once and pass."""
    tempfile.tempdir = str(folder)  # marks of this figure alone; the process ends with it
    trials = 8 if quick else 100
    whole = write_data(folder / "whole")
    passes = not any(refused(lambda: verify_once(whole)) for _ in range(3))
    passes = passes and not refused(lambda: check_hashes(write_result(folder / "good", 0.5)))
    measured = {
        "changed_bytes": trials,
        "refused": changed_bytes(folder, trials),
        "swapped_ids_refused": swapped_ids(folder),
        "mixed_results_refused": mixed_results(folder),
        "shards_of_one_name_apart": shards_of_one_name(folder),
        "unchanged_pass": passes,
    }
    right = measured["refused"] == trials and measured["mixed_results_refused"] == 3
    rest = ("swapped_ids_refused", "shards_of_one_name_apart", "unchanged_pass")
    return Figure(right and all(measured[key] for key in rest), measured)
