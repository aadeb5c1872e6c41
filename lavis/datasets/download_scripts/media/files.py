"""Files of prepared pictures and sounds: one zip, packed clips, annotations, classes, attribution.

pictures.zip             <object_id>/0.png, 224 x 224 (rendering/view_store.py)
audio*.npy, audio_ids.json   16 kHz (stores/packed_audio.py)
annotations/{caption,class}_<split>.json, classes.json, ATTRIBUTION.md
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lavis.datasets.download_scripts.bricks_groups import Groups
from lavis.datasets.download_scripts.hashed_splits import SPLITS, hashed_split
from lavis.datasets.download_scripts.labelled_splits import write_annotations
from lavis.datasets.download_scripts.media.items import Item
from lavis.datasets.rendering.view_store import ViewWriter
from lavis.datasets.stores.packed_audio import write_audio

PICTURES_NAME = "pictures.zip"
Record = dict[str, Any]


def write_items(
    final: Path, items: Iterable[Item], family: str, version: int, held_out: Collection[str]
) -> dict[str, Any]:
    """Write a prepared folder but its attribution and manifest; return the counts.

    Args:
        final: the empty folder.
        items: unique ids.
        family, version: of the splits.
        held_out: classes of the split held_out; what is in a group with one is left out.
    """
    records: list[Record] = []
    links = Groups()
    clips: list[tuple[str, np.ndarray]] = []
    with ViewWriter(final / PICTURES_NAME) as pictures:
        for item in _watched(items, links):
            if item.picture is not None:
                pictures.add(item.object_id, [item.picture])
            if item.audio is not None:
                clips.append((item.object_id, item.audio))
            records.append(_record(item))
    if not any(record["has_picture"] for record in records):
        (final / PICTURES_NAME).unlink()
    if clips:
        write_audio(final, clips)
    for record in records:
        record["group"] = links.find(record["object_id"])
    _set_splits(records, family, version, held_out)
    classes = write_annotations(final, records)
    found = Counter(record["split"] for record in records)
    return {
        "version": version,
        "objects": len(records),
        "splits": {split: found[split] for split in (*SPLITS, "left_out")},
        "classes": len(classes["class_names"]),
        "held_out_classes": len(classes["held_out_class_names"]),
        "distinct_captions": len({record["caption"][0] for record in records}),
        "pictures": sum(record["has_picture"] for record in records),
        "sounds": len(clips),
    }


def _record(item: Item) -> Record:
    return {
        "object_id": item.object_id,
        "caption": list(item.captions),
        **({} if item.category is None else {"category": item.category}),
        "source": item.source,
        "has_picture": item.picture is not None,
        "has_sound": item.audio is not None,
    }


def _watched(items: Iterable[Item], links: Groups) -> Iterator[Item]:
    """Link items of one group of texts or of equal pictures, while they pass."""
    for item in items:
        links.union(item.object_id, f"text {item.group}")
        if item.picture is not None:
            links.union(item.object_id, f"picture {hash_of(item.picture)}")
        yield item


def hash_of(content: bytes) -> str:
    """Return a hash of a picture's file."""
    return hashlib.sha256(content).hexdigest()[:32]


def _set_splits(
    records: Sequence[Record], family: str, version: int, held_out: Collection[str]
) -> None:
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        members[record["group"]].append(record)
    for group, linked in members.items():
        named = [record for record in linked if record.get("category") in held_out]
        split = hashed_split(family, version, group)
        for record in linked:
            inside = record.get("category") in held_out
            record["split"] = ("held_out" if inside else "left_out") if named else split
