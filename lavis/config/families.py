"""One option for several data sets: `datasets.<family>.<key>` is a key of `build_info` of each.

    --options datasets.own.path=data/mine          own_caption, own_qa, … of the recipe
    --options datasets.bricks.limit.train=64       bricks_caption, bricks_qa, … of the recipe

A family is what the names of registered data sets begin with, up to an underscore.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig

from lavis.config.sources import as_plain, merge


def spread_families(
    config: DictConfig, members: Collection[str], registered: Collection[str]
) -> DictConfig:
    """Return a configuration whose family sections are part of their members' `build_info`.

    A key that a member states itself stays as it is. A section that is no family of the recipe, or
    no mapping, stays, too: it is refused as an unknown data set.

    Args:
        config: a recipe, or the options of a launch.
        members: data sets of the recipe.
        registered: every data set's name.
    """
    plain = as_plain(config, resolve=False)
    datasets: dict[str, Any] = plain.get("datasets") or {}
    if not isinstance(datasets, Mapping):
        return config
    for family in [name for name in datasets if name not in registered]:
        names = [name for name in members if name.startswith(f"{family}_")]
        if not names or not isinstance(datasets[family], Mapping):
            continue
        shared = datasets.pop(family)
        for name in names:
            datasets[name] = merge({"build_info": shared}, datasets.get(name) or {})
    return merge(plain)
