"""Furniture as files of a user: model folders, and tables of texts made from the catalogue.

python -m lavis.datasets.download_scripts.prepare_furniture --export my_meshes --count 200

<out>/<object_id>/<object_id>.obj, *.mtl, textures
<out>/captions.csv      object_id, caption, class, group: one row per caption
<out>/questions.csv     object_id, question, answer
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.bricks_text import stable_hash
from lavis.datasets.download_scripts.furniture.catalogue import Model, read_models
from lavis.datasets.download_scripts.furniture.classes import class_of
from lavis.datasets.download_scripts.furniture.models import ICON_NAME
from lavis.datasets.download_scripts.furniture.splits import read_splits
from lavis.datasets.download_scripts.furniture.texts import captions, room_question
from lavis.datasets.manifest import verify_once


def export_models(folder: str | Path, out: str | Path, count: int = 200) -> list[Model]:
    """Write so many models that have a class, chosen by a hash of their id.

    Args:
        folder: of `prepare_models`.
        out: must not exist yet.
        count: number of models.

    Returns:
        The models, by id.

    Raises:
        DataError: `out` exists.
    """
    folder, out = Path(folder), Path(out)
    if out.exists():
        raise DataError("the folder to export to exists", where=str(out))
    verify_once(folder)
    known = [model for model in read_models(folder).values() if class_of(model.name)]
    known.sort(key=lambda model: stable_hash(f"export:{model.object_id}"))
    chosen = sorted(known[:count], key=lambda model: model.object_id)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for model in chosen:
        target = partial / model.object_id
        shutil.copytree(folder / model.object_id, target)
        (target / ICON_NAME).unlink()
        os.rename(target / model.file, target / f"{model.object_id}.obj")
        for terms in [*target.glob("*.txt"), *target.glob("*.TXT")]:
            os.rename(terms, f"{terms}.license")  # or a converter would look for points in it
    _write_tables(partial, chosen)
    shutil.copy(folder / "ATTRIBUTION.md", partial)
    os.replace(partial, out)
    return chosen


def _write_tables(out: Path, models: Sequence[Model]) -> None:
    groups = read_splits()
    texts = [
        (model.object_id, text, class_of(model.name) or "", groups[model.object_id].group)
        for model in models
        for text in captions(model)
    ]
    _write_csv(out / "captions.csv", ("object_id", "caption", "class", "group"), texts)
    asked = [(m.object_id, q["question"], q["answer"]) for m in models if (q := room_question(m))]
    _write_csv(out / "questions.csv", ("object_id", "question", "answer"), asked)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
