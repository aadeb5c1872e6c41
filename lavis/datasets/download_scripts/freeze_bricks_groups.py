"""Write the frozen groups and splits of the bricks anew: about three minutes a folder on one core.

    python -m lavis.datasets.download_scripts.freeze_bricks_groups --data data/bricks data/resampled

Needed when the parts change, never for a preparation. Groups that the file has stay together and
keep their names. Each folder is a preparation of all parts with another seed: what is a
near-duplicate by either sampling is linked (the shipped file: seeds 0 and 1).
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from lavis.datasets.download_scripts.bricks_groups import group_names, near_duplicates
from lavis.datasets.download_scripts.bricks_split import SPLIT_FILE, read_frozen, write_frozen
from lavis.datasets.download_scripts.prepare_bricks import candidates_of


def kept_together(groups: dict[str, str]) -> list[tuple[str, str]]:
    """Return pairs that link the members of each frozen group with each other."""
    first: dict[str, str] = {}
    return [(first.setdefault(group, part), part) for part, group in groups.items()]


def main() -> None:
    """Command line; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", default=[Path("data/bricks")])
    parser.add_argument("--out", type=Path, default=SPLIT_FILE)
    options = parser.parse_args()
    frozen = read_frozen(options.out) if options.out.exists() else {}
    groups = {part: row.group for part, row in frozen.items()}
    near = kept_together(groups)
    for folder in options.data:
        candidates, ids = candidates_of(folder)
        near += [(ids[a], ids[b]) for a, b in near_duplicates(folder)]
    named = group_names(candidates, near, groups)
    write_frozen(options.out, candidates, named)
    sizes = Counter(named.values())
    largest = sorted(sizes.values(), reverse=True)[:8]
    print(f"{options.out}: {len(named)} parts, {len(sizes)} groups, largest {largest}")


if __name__ == "__main__":
    main()
