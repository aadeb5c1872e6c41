"""Make the converted folder of finished work: duplicates, splits, points, texts, report."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.common.files import file_sha256, storing
from lavis.datasets.convert.annotations import write_annotations
from lavis.datasets.convert.engines import Piece
from lavis.datasets.convert.splits import LEFT_OUT, Member, group_of, split_objects
from lavis.datasets.convert.tasks import Converted
from lavis.datasets.convert.texts import SPLITS, Joined, ObjectTexts
from lavis.datasets.convert.work import Work
from lavis.datasets.download_scripts.bricks_text import natural_key, stable_hash
from lavis.datasets.manifest import write_json
from lavis.datasets.stores.packed_fields import FIELD_LAYOUTS, UNIT_XYZ, PackedFieldWriter
from lavis.datasets.stores.packed_points import RGB_SCALE, XYZ_SCALE

POINTS = "points"
LAYOUTS = {"xyz": UNIT_XYZ, "rgb": FIELD_LAYOUTS["rgb"]}
Facts = dict[str, Any]


@dataclass
class Chosen:
    """Which objects are kept.

    Attributes:
        facts: {object id: its facts, with group and split}, in the order of ids.
        duplicates: {object id that is left out: the one that is kept}.
        problems: {file: why it could not be converted}.
        texts: {object id: its texts and those of its duplicates}.
    """

    facts: dict[str, Facts] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    texts: dict[str, ObjectTexts] = field(default_factory=dict)


def choose(work: Work, pieces: Sequence[Piece], joined: Joined, val: float, test: float) -> Chosen:
    """Leave out what could not be converted and repeated objects; settle the splits.

    Raises:
        DataError: nothing is left; the reasons are named.
    """
    chosen = Chosen()
    for result in work.results(pieces, with_points=False):
        if result.problem:
            chosen.problems[result.facts["source"]] = result.problem
        else:
            chosen.facts[result.object_id] = dict(result.facts)
    if not chosen.facts:
        raise _nothing(chosen.problems)
    chosen.texts = dict(joined.of)
    _drop_duplicates(chosen)
    members = [_member(object_id, chosen) for object_id in chosen.facts]
    splits = split_objects(members, val, test)
    for member in members:
        facts = chosen.facts[member.object_id]
        facts |= {"group": group_of(member), "split": splits[member.object_id]}
    return chosen


def _drop_duplicates(chosen: Chosen) -> None:
    """Keep one object of equal shape, size and colours; it takes the texts of the others."""
    keeper: dict[str, str] = {}
    for object_id in sorted(chosen.facts, key=lambda name: (len(name), natural_key(name))):
        kept = keeper.setdefault(chosen.facts[object_id]["duplicate"], object_id)
        if kept != object_id:
            chosen.duplicates[object_id] = kept
    for object_id, kept in chosen.duplicates.items():
        del chosen.facts[object_id]
        if object_id in chosen.texts:
            together = ObjectTexts()
            together.add(chosen.texts.get(kept, ObjectTexts()))
            together.add(chosen.texts[object_id])
            chosen.texts[kept] = together


def _member(object_id: str, chosen: Chosen) -> Member:
    texts = chosen.texts.get(object_id, ObjectTexts())
    return Member(object_id, chosen.facts[object_id]["geometry"], texts.group, texts.split)


def write_points(
    folder: Path,
    work: Work,
    pieces: Sequence[Piece],
    kept: Mapping[str, Facts],
    shown: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Write the clouds of the kept objects, in the order of ids; return some of them.

    Args:
        folder: of the converted data.
        work: with every piece.
        pieces: in the order of ids.
        kept: {object id: facts}.
        shown: ids whose clouds are returned, float32 [N,6].

    Raises:
        StorageError: the disk is full.
    """
    clouds: dict[str, np.ndarray] = {}
    needed = 9 * sum(facts["num_points"] for facts in kept.values())
    with storing(folder / POINTS, needed), PackedFieldWriter(folder / POINTS, LAYOUTS) as writer:
        for result in work.results(pieces, with_points=True):
            name = result.object_id
            if name not in kept:
                continue
            fields = {"xyz": result.xyz, "rgb": result.rgb}
            writer.write(name, fields, kept[name]["scale"], is_stored=True)
            if name in shown:
                clouds[name] = _cloud(result)
    return clouds


def shard_clouds(
    results: Iterable[Converted], kept: Mapping[str, Facts]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (object id, cloud) of the kept objects for tar shards.

    A cloud is float32 [N,6]: xyz in the user's unit about the middle of the box, up +y, and rgb in
    [0,1].
    """
    for result in results:
        if result.object_id in kept:
            yield result.object_id, _cloud(result, kept[result.object_id]["scale"])


def _cloud(result: Converted, scale: float = 1.0) -> np.ndarray:
    xyz = result.xyz * np.float32(scale / XYZ_SCALE)
    return np.concatenate([xyz, result.rgb * np.float32(1 / RGB_SCALE)], axis=1)


def shown_objects(kept: Mapping[str, Facts], most: int) -> list[str]:
    """Return the ids of some objects, chosen by a hash, in the order of ids."""
    return sorted(sorted(kept, key=lambda name: stable_hash(f"shown:{name}"))[:most])


def write_texts(folder: Path, chosen: Chosen, has: set[str]) -> dict[str, Any]:
    """Write ids, facts and annotations of the kept objects; return the counts."""
    write_json(folder / "object_ids.json", list(chosen.facts))
    write_json(folder / "geometry.json", chosen.facts)
    places = {
        object_id: {"group": facts["group"], "split": facts["split"]}
        for object_id, facts in chosen.facts.items()
    }
    records = write_annotations(folder, chosen.texts, places, has)
    splits = Counter(place["split"] for place in places.values())
    return {
        "objects": len(places),
        "splits": {split: splits[split] for split in (*SPLITS, LEFT_OUT)},
        "records": records,
        "with_color": sum(facts["has_color"] for facts in chosen.facts.values()),
        "skipped": len(chosen.problems),
        "duplicates": len(chosen.duplicates),
    }


def version_of(folder: Path) -> str:
    """Return 12 digits that name the content: points, facts and annotations."""
    paths = [folder / POINTS / "manifest.json", folder / "geometry.json"]
    paths += sorted((folder / "annotations").glob("*.json"))
    digest = hashlib.sha256("".join(file_sha256(path) for path in paths).encode())
    return digest.hexdigest()[:12]


def _nothing(problems: Mapping[str, str]) -> DataError:
    first = [f"{name}: {why}" for name, why in list(problems.items())[:5]]
    return DataError(
        "no file could be converted",
        got="; ".join(first) + (" …" if len(problems) > 5 else ""),
        expected="at least one mesh or cloud",
    )
