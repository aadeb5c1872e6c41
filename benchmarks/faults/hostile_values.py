"""Figure 23: a hundred texts and numbers that no file, generator or array can hold."""

from __future__ import annotations

import random
import struct
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.processes import Figure
from lavis.common.errors import PointLanguageError
from lavis.config.run_config import RunConfig
from lavis.datasets.datasets.annotations import read_annotation
from lavis.datasets.sources.objaverse_files import read_captions
from lavis.datasets.stores.cloud_check import check_clouds
from lavis.datasets.stores.point_stores import FilePointStore
from lavis.evaluation.read_records import read_json

RECIPE = "lavis/projects/bricks/train/demo_stage1.yaml"
Case = tuple[str, str, Callable[[], Any]]  # what it is, what the message names, how it is read

# JSON literals of a value
TEXTS = (r'"a \ud83d"', r'"\ude00 b"', r'"\udfff\ud800"', r'"\ud83d\ud83d\ude00"')
NUMBERS = ("NaN", "Infinity", "-Infinity", "1e400", "-1e999", "1" * 5000)
SEEDS = (str(2**32), str(2**40), "1" + "0" * 30, "-1", "1e30", ".inf", ".nan", "4.5")


def _record(key: str, literal: str) -> str:
    return f'{{"instance_id": "{key}", "object_id": "{key}", "caption": {literal}}}'


def json_cases(folder: Path, rng: random.Random) -> Iterator[Case]:
    """Yield JSON files of users: captions by uid, annotations, results."""
    readers: dict[str, Callable[[Path], Any]] = {
        "captions": lambda path: read_captions(path, "storage"),
        "annotation": lambda path: read_annotation([path]),
        "results": read_json,
    }
    literals = [*TEXTS, *NUMBERS, '"x", "caption": "y"', "[" * 60_000]
    for kind, read in readers.items():
        for number, literal in enumerate(literals):
            place = rng.randrange(20)
            records = [_record(f"u{n}", literal if n == place else '"a"') for n in range(20)]
            named = f"u{place}" if "caption" in literal else f"[{place}].caption"
            text = f"[{', '.join(records)}]"
            if kind == "captions":
                named = f"u{place}"
                pairs = [f'"u{n}": {r}' for n, r in enumerate(records)]
                text = f"{{{', '.join(pairs)}}}"
            path = folder / f"{kind}{number}.json"
            path.write_text(text)
            known = path.name if literal[0] in "[1" and len(literal) > 1000 else named
            yield f"{kind} {literal[:20]}", known, lambda path=path, read=read: read(path)  # type: ignore[misc]


def option_cases() -> Iterator[Case]:
    """Yield options of a recipe."""

    def read(*options: str) -> Any:
        return RunConfig(Namespace(cfg_path=RECIPE, options=list(options)))

    numbers = ("init_lr", "min_lr", "weight_decay", "beta2", "momentum", "lr_decay_rate")
    for key in [f"run.{name}" for name in (*numbers, "batch_size_train", "max_steps")]:
        for value in (".nan", ".inf", "1e400", "-1"):
            yield f"{key}={value}", key, lambda key=key, value=value: read(f"{key}={value}")  # type: ignore[misc]
    points = "datasets.bricks_caption.build_info.augmentation_seed"
    for key in ("run.seed", points):
        for value in SEEDS:
            yield f"{key}={value}", key, lambda key=key, value=value: read(f"{key}={value}")  # type: ignore[misc]
    for key in ("run.prompt", "run.job_id", "run.output_dir"):
        for value in ('"\\ud83d"', "a\udcff"):
            yield (
                f"{key} {value!a}",
                key,
                lambda key=key, value=value: read(f"{key}={value}"),  # type: ignore[misc]
            )


HEADERS = (
    "(9223372036854775808, 3)",
    "(18446744073709551616, 3)",
    f"({10**40}, 3)",
    "(-5, 3)",
    "(4611686018427387904, 3)",
    "(1000000000000, 6)",
    "(True, 3)",
    "(2.5, 3)",
    "(" * 200,
    "(3,) * 10**9",
)


def write_headers(folder: Path) -> list[str]:
    """Write .npy files whose headers declare what no file holds; return their ids."""
    for number, shape in enumerate(HEADERS):
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
        header = text.encode().ljust(505) + b"\n"
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(60)
        (folder / f"header{number}.npy").write_bytes(content)
    return [f"header{number}" for number in range(len(HEADERS))]


def problem(named: str, read: Callable[[], Any]) -> str:
    """Return "" when a value is refused by name, else what happened."""
    try:
        read()
    except PointLanguageError as error:
        text = str(error)
        if text.encode("utf-8", "replace").decode("utf-8") != text:
            return "the message cannot be printed"
        return "" if named in text else f"not named: {text[:300]!a}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]!a}"
    return "accepted"


def fig23(folder: Path, quick: bool) -> Figure:
    """Each value is refused with record or key; a bad file does not end the check of the others."""
    cases = [*json_cases(folder, random.Random(0)), *option_cases()]
    store = FilePointStore(folder, "{object_id}.npy")
    bad = write_headers(folder)
    cases += [(name, name, lambda name=name: store.load(name)) for name in bad]  # type: ignore[misc]
    chosen = cases[:: 4 if quick else 1]
    found = {name: problem(named, read) for name, named, read in chosen}
    good = [f"good{number}" for number in range(10)]
    for name in good:
        np.save(folder / f"{name}.npy", np.random.default_rng(0).random((8, 3), np.float32))
    checks = check_clouds(store, [uid for pair in zip(bad, good) for uid in pair])
    right = all(bool(checks[uid].problem) == (uid in bad) for uid in checks)
    measured = {
        "values": len(chosen),
        "wrong": {name: text for name, text in found.items() if text},
        "checked_beside_bad_files": len(checks) if right else 0,
    }
    return Figure(not measured["wrong"] and right and (quick or len(chosen) >= 100), measured)
