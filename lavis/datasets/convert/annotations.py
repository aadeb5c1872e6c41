"""Annotation files of the converted objects: captions, questions and classes per split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lavis.datasets.convert.texts import SPLITS, ObjectTexts
from lavis.datasets.manifest import write_json

Entry = dict[str, Any]


def write_annotations(
    folder: Path, texts: Mapping[str, ObjectTexts], places: Mapping[str, Entry], has: set[str]
) -> dict[str, int]:
    """Write the kinds that the table gives, each for every split; return the number of records.

    Args:
        folder: of the converted data.
        texts: {object id: what the table says}.
        places: {object id: its group and split}, of the objects that are kept, in their order.
        has: meanings of the table's columns.
    """
    makers = {"captions": _captions, "qa": _questions, "classes": _classes}
    wanted = {"captions": "caption", "qa": "question", "classes": "class"}
    counts = {}
    for kind, maker in makers.items():
        if wanted[kind] not in has:
            continue
        (folder / "annotations").mkdir(exist_ok=True)
        records: dict[str, list[Entry]] = {split: [] for split in SPLITS}
        for object_id, place in places.items():
            if place["split"] in records and object_id in texts:
                records[place["split"]] += maker(object_id, texts[object_id], place)
        for split, entries in records.items():
            write_json(folder / "annotations" / f"{kind}_{split}.json", entries)
        counts[kind] = sum(map(len, records.values()))
    if "class" in has:
        classes = {texts[object_id].category for object_id in places if object_id in texts}
        write_json(folder / "classes.json", {"class_names": sorted(classes - {""})})
    return counts


def _captions(object_id: str, texts: ObjectTexts, place: Entry) -> list[Entry]:
    if not texts.captions:
        return []
    category = {"category": texts.category} if texts.category else {}
    return [{"object_id": object_id, "caption": texts.captions, **category, **place}]


def _questions(object_id: str, texts: ObjectTexts, place: Entry) -> list[Entry]:
    entries = []
    for number, (question, answers) in enumerate(texts.questions.items()):
        kind = texts.types.get(question, "")
        entry: Entry = {"question_id": f"{object_id}:{number}", "object_id": object_id}
        entry |= {"question": question, "answer": answers}
        entries.append({**entry, **({"question_type": kind} if kind else {}), **place})
    return entries


def _classes(object_id: str, texts: ObjectTexts, place: Entry) -> list[Entry]:
    if not texts.category:
        return []
    captions = texts.captions or [texts.category]
    entry = {"object_id": object_id, "caption": captions, "category": texts.category}
    return [{**entry, **place}]
