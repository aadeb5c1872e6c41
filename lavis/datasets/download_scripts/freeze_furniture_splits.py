"""Write the frozen groups and splits of the furniture anew.

    python -m lavis.datasets.download_scripts.freeze_furniture_splits --work /tmp/furniture

Needed when the models or classes change, never for a preparation. Clouds are sampled once into the
work folder; a second run continues there.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from lavis.datasets.download_scripts.bricks_groups import near_pairs
from lavis.datasets.download_scripts.furniture.catalogue import read_models
from lavis.datasets.download_scripts.furniture.clouds import sample_clouds
from lavis.datasets.download_scripts.furniture.models import prepare_models
from lavis.datasets.download_scripts.furniture.splits import (
    SPLIT_FILE,
    counts,
    groups_of,
    split_by_rule,
    write_splits,
)
from lavis.datasets.stores.packed_points import XYZ_SCALE

_RADIUS = 10.0  # studs, of every object: near-duplicates are found whatever their size


def main() -> None:
    """Command line; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=Path("data/furniture_models"))
    parser.add_argument("--work", type=Path, required=True, help="keeps the sampled clouds")
    parser.add_argument("--out", type=Path, default=SPLIT_FILE)
    options = parser.parse_args()
    models = list(read_models(prepare_models(options.models)).values())
    options.work.mkdir(parents=True, exist_ok=True)
    sampled = sample_clouds(options.work, options.models, models, num_points=2048, seed=0)
    clouds = [cloud.xyz * np.float32(_RADIUS / XYZ_SCALE) for cloud in sampled]
    boxes = np.array([np.ptp(cloud, axis=0) for cloud in clouds])
    near = [(models[a].object_id, models[b].object_id) for a, b in near_pairs(clouds, boxes)]
    places = split_by_rule(models, groups_of(models, near))
    write_splits(options.out, places)
    sizes = sorted(Counter(place.group for place in places.values()).values(), reverse=True)
    print(f"{options.out}: {counts(places.values())}, {len(near)} near-duplicates")
    print(f"{len(sizes)} groups, largest {sizes[:8]}")


if __name__ == "__main__":
    main()
