"""Prepare pictures or sounds: what the three commands share."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import lavis.common.utils as utils
from lavis.common.command import command_parser, report_errors
from lavis.common.preemption import leave_at_signals
from lavis.datasets.download_scripts.media.files import write_items
from lavis.datasets.download_scripts.media.items import Item
from lavis.datasets.download_scripts.packages import Package, fetch
from lavis.datasets.download_scripts.prepared import prepare_once
from lavis.datasets.manifest import verify_manifest

FORMAT = 1  # raise it when the content of a folder changes

# Of the packages' paths, the work folder, and a counter of what is left out: items per package.
Items = Callable[[Sequence[Path], Path, Counter[str]], Sequence[Iterator[Item]]]


@dataclass(frozen=True)
class Family:
    """A prepared data set of pictures or sounds.

    Attributes:
        name: of the folder below `cache_root`.
        packages: what it is made of.
        items: yields the items of each package.
        held_out: classes that no training item has.
        attribution: text of ATTRIBUTION.md.
        version: of the splits.
    """

    name: str
    packages: tuple[Package, ...]
    items: Items
    held_out: tuple[str, ...]
    attribution: str
    version: int = 1

    def parameters(self, limit: int | None) -> dict[str, Any]:
        """Return what the manifest records and compares."""
        rule = f"{self.name}-v{self.version}, held out: {', '.join(self.held_out)}"
        digest = hashlib.sha256(rule.encode()).hexdigest()
        facts = {"format": FORMAT, "limit": limit}
        return {**facts, "split_rule": rule, "split_file_sha256": digest}


def prepare_media(
    family: Family, folder: str | Path, limit: int | None = None, progress: bool = True
) -> Path:
    """Make sure that `folder` holds the prepared data set.

    Args:
        family: what to prepare.
        folder: the target; left as it is when its manifest fits.
        limit: the first so many items of each package only; None: all.
        progress: show a bar.

    Raises:
        DataError: the folder holds something else or is damaged, or a package cannot be had.
        DependencyError: a library is missing that the packages need.
    """
    kept = Path(folder).absolute().parent / "packages"

    def build(work: Path, final: Path) -> Mapping[str, Any]:
        paths = [fetch(package, kept) for package in family.packages]
        dropped: Counter[str] = Counter()
        parts = family.items(paths, work, dropped)
        items = itertools.chain.from_iterable(itertools.islice(part, limit) for part in parts)
        bar = tqdm(items, unit="item", desc=family.name, disable=not progress)
        counts = write_items(final, bar, family.name, family.version, family.held_out)
        (final / "ATTRIBUTION.md").write_text(family.attribution, encoding="utf-8")
        return {**counts, "dropped": dict(sorted(dropped.items()))}

    def sources() -> Mapping[str, Any]:
        return {package.name: package.facts() for package in family.packages}

    return prepare_once(folder, family.parameters(limit), sources, build)


@report_errors()
def run_command(family: Family, doc: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command line: 0 when everything is there."""
    parser = command_parser(doc)
    default = Path(utils.get_cache_path(family.name))
    parser.add_argument("--out", type=Path, default=default, help="target folder")
    parser.add_argument("--limit", type=int, help="the first so many items of each package")
    parser.add_argument("--verify", action="store_true", help="compare every hash, prepare nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with leave_at_signals("while preparing: nothing is kept"):
        if not options.verify:
            prepare_media(family, options.out, options.limit, not options.quiet)
    counts = verify_manifest(options.out, full=options.verify)["counts"]
    print(f"{options.out}: {counts['objects']} items, {counts['splits']}")
    print(f"  {counts['pictures']} pictures, {counts['sounds']} sounds, left out:")
    for reason, count in counts["dropped"].items():
        print(f"  {count} {reason}")
    return 0
