"""Cut a small subset from real runs: predictions, annotations and thinned clouds.

    python -m benchmarks.recompute.cut output/demo --to tests/benchmarks/recompute_subset

The subset has the layout of a prepared data folder (`data/`) and one prediction file per task and
split (`predictions/`). Files depend on the runs and the data alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recompute.runs import KINDS, Data, Entries, Run, metrics_files, read_json, read_run

ITEMS = 40  # of each task and split
COLOR_QUESTIONS = 52  # a family of this size is reported alone
TRAIN_OBJECTS = 110
TRAIN_QUESTIONS = 260
POINTS = 32  # of each cloud
ID_KEYS = {"point_captioning": "image_id", "point_qa": "question_id"}
FIELDS = {
    "caption": ("object_id", "caption", "colored_caption", "category", "color"),
    "class": ("object_id", "caption", "category", "color"),
    "qa": (
        *("question_id", "object_id", "question", "answer", "answers", "family", "question_type"),
    ),
}
# The lists of the best ten name objects that the subset lacks.
DROPPED = ("top_captions", "top_objects")


def cut_predictions(run: Run) -> Entries:
    """Return the first items of a run; of questions one large family and some of the others."""
    entries = run.predictions
    if run.task == "point_qa":
        color = [e for e in entries if e["family"] == "color"][:COLOR_QUESTIONS]
        others = [e for e in entries if e["family"] != "color"][: ITEMS - 20]
        entries = color + others
    else:
        entries = entries[:ITEMS]
    return [{k: v for k, v in entry.items() if k not in DROPPED} for entry in entries]


def shortened(entries: Iterable[dict[str, Any]], kind: str) -> Entries:
    """Keep the fields of annotation records that scores and baselines read."""
    return [{key: entry[key] for key in FIELDS[kind] if key in entry} for entry in entries]


def predicted_records(run: Run, predictions: Entries, data: Data) -> Entries:
    """Return the annotation records of some predictions."""
    known = "question_id" if run.task == "point_qa" else "object_id"
    key = ID_KEYS.get(run.task, "instance_id")
    ids = {str(entry[key]) for entry in predictions}
    return [entry for entry in data.of(run) if str(entry[known]) in ids]


def training_records(data: Data) -> dict[str, Entries]:
    """Return training records about a few objects, spread over the split."""
    every = data.annotation("class", "train")
    step = max(1, len(every) // TRAIN_OBJECTS)
    kept = {str(entry["object_id"]) for entry in every[::step][:TRAIN_OBJECTS]}
    found = {
        kind: [e for e in data.annotation(kind, "train") if str(e["object_id"]) in kept]
        for kind in FIELDS
    }
    found["qa"] = found["qa"][:TRAIN_QUESTIONS]
    return found


def write_json(path: Path, content: Any) -> None:
    """Write compact JSON, one record a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = content if isinstance(content, list) else None
    text = json.dumps(content, ensure_ascii=False)
    if lines and isinstance(lines[0], dict):
        text = "[\n" + ",\n".join(json.dumps(e, ensure_ascii=False) for e in lines) + "\n]"
    path.write_text(text + "\n", encoding="utf-8")


def write_arrays(folder: Path, data: Data, ids: Sequence[str]) -> None:
    """Write the packed arrays of some objects, every cloud thinned evenly."""
    rows = [data.row_of[i] for i in ids]
    points = np.linspace(0, data.xyz.shape[1] - 1, POINTS).astype(int)
    write_json(folder / "object_ids.json", list(ids))
    np.save(folder / "points_xyz.npy", np.stack([data.xyz[row][points] for row in rows]))
    np.save(folder / "points_rgb.npy", np.stack([data.rgb[row][points] for row in rows]))
    np.save(folder / "points_scale.npy", data.scale[rows])


def cut(runs: Sequence[Run], data: Data, folder: Path) -> None:
    """Write the subset of some runs."""
    annotations: dict[str, Entries] = {}
    for run in runs:
        predictions = cut_predictions(run)
        kind = KINDS[run.task]
        write_json(folder / "predictions" / f"{run.task}_{run.split}.json", predictions)
        name = f"{kind}_{run.split}"
        own = shortened(predicted_records(run, predictions, data), kind)
        annotations[name] = annotations.get(name, []) + [
            entry for entry in own if entry not in annotations.get(name, [])
        ]
    for kind, entries in training_records(data).items():
        annotations[f"{kind}_train"] = shortened(entries, kind)
    for name, entries in annotations.items():
        write_json(folder / "data" / "annotations" / f"{name}.json", entries)
    ids = {str(entry["object_id"]) for entries in annotations.values() for entry in entries}
    write_arrays(folder / "data", data, sorted(ids))
    classes = read_json(data.folder / "classes.json")
    names = ("class_names", "held_out_class_names")
    write_json(folder / "data" / "classes.json", {name: classes[name] for name in names})
    split_file = data.manifest["parameters"]["split_file_sha256"]
    manifest = {"parameters": {"split_file_sha256": split_file}}
    manifest["counts"] = {"version": data.manifest["counts"]["version"]}
    write_json(folder / "data" / "manifest.json", manifest)


def main(arguments: Sequence[str] | None = None) -> None:
    """Cut the subset of the runs below a folder."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.recompute.cut")
    options.add_argument("runs", nargs="+", type=Path, help="folders of runs, e.g. output/demo")
    options.add_argument("--data", type=Path, default=Path("data/bricks"), help="prepared data")
    options.add_argument("--to", type=Path, required=True, help="folder of the subset")
    given = options.parse_args(arguments)
    runs = [read_run(path) for path in metrics_files(given.runs)]
    plain = [run for run in runs if run.task in KINDS and run.record["alteration"] is None]
    cut(plain, Data(given.data), given.to)


if __name__ == "__main__":
    main()
