"""Write the frozen groups and splits of the bricks anew: about three minutes on one core.

    python -m lavis.datasets.download_scripts.freeze_bricks_groups --data data/bricks

Needed when the parts change, never for a preparation. Groups keep the names that the file has.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from lavis.datasets.download_scripts.bricks_groups import group_names, near_duplicates
from lavis.datasets.download_scripts.bricks_split import SPLIT_FILE, read_frozen, write_frozen
from lavis.datasets.download_scripts.prepare_bricks import candidates_of


def main() -> None:
    """Command line; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/bricks"), help="all parts")
    parser.add_argument("--out", type=Path, default=SPLIT_FILE)
    options = parser.parse_args()
    candidates, ids = candidates_of(options.data)
    near = [(ids[a], ids[b]) for a, b in near_duplicates(options.data)]
    frozen = read_frozen(options.out) if options.out.exists() else {}
    named = group_names(candidates, near, {i: row.group for i, row in frozen.items()})
    write_frozen(options.out, candidates, named)
    sizes = Counter(named.values())
    largest = sorted(sizes.values(), reverse=True)[:8]
    print(f"{options.out}: {len(named)} parts, {len(sizes)} groups, largest {largest}")


if __name__ == "__main__":
    main()
