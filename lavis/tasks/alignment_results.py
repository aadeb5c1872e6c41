"""Figures of the alignment study over seeds, and the comparisons between conditions.

A figure of a condition is the mean over seeds; its interval is a bootstrap over objects of that
mean, and the spread over seeds is given beside it. Comparisons use the same resamples for both
sides, so they are paired. p values are adjusted by Holm within a family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lavis.evaluation.alignment import PairedSets, bootstrap_weights
from lavis.evaluation.intervals import centred_p_value, percentile_metric
from lavis.evaluation.multiple_tests import LEVEL, holm, verdict

HEADLINE = ("margin", "within_color/recall_at_1")
SET_LEVEL = ("centroid_distance", "avg_cosine_similarity", "matched_cosine_similarity")
REPORTED = (
    *HEADLINE,
    *("within_category/recall_at_1", "object_to_text/recall_at_1", "text_to_object/recall_at_1"),
    *SET_LEVEL,
)
# Declared before any result; each pair is first - second.
PAIRS = (
    ("contrastive", "generative"),
    ("contrastive_center", "generative_center"),
    ("generative_center", "generative"),
    ("contrastive_center", "contrastive"),
    ("generative", "initial"),
    ("contrastive", "initial"),
    ("center", "initial"),
    ("generative_center", "center"),
    ("contrastive_center", "center"),
)
FAMILIES = {"headline": HEADLINE, "set_level": SET_LEVEL}
BySeed = Mapping[int, PairedSets]
Draws = dict[str, dict[str, np.ndarray]]


def seed_mean(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over seeds of each figure that every seed has."""
    return {name: np.mean([row[name] for row in values], axis=0) for name in values[0]}


def draw_figures(members: Mapping[str, BySeed], n_resamples: int, seed: int = 0) -> Draws:
    """Seed means of every member's figures in the same resamples: {member: {figure: [R]}}."""
    size = len(next(iter(next(iter(members.values())).values())).points)
    weights = bootstrap_weights(size, n_resamples, seed)
    return {
        name: seed_mean([pairs.figures(weights) for pairs in by_seed.values()])
        for name, by_seed in members.items()
    }


def describe_member(by_seed: BySeed, draws: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Figures of a member with intervals, the figures of each seed, and their spread.

    Args:
        by_seed: its embeddings.
        draws: {figure: [R]} of `draw_figures`.
    """
    plain = {seed: pairs.plain() for seed, pairs in by_seed.items()}
    values = seed_mean(list(plain.values()))
    spread = 1 if len(plain) > 1 else 0
    return {
        "figures": {name: percentile_metric(values[name], draws[name]) for name in values},
        "seeds": {str(seed): figures for seed, figures in plain.items()},
        "seed_sd": {
            name: float(np.std([row[name] for row in plain.values()], ddof=spread))
            for name in values
        },
    }


def compare_members(members: Mapping[str, BySeed], draws: Draws) -> list[dict[str, Any]]:
    """Differences of the declared pairs, first - second, with Holm's p within each family.

    Returns:
        Entries with `family`, `figure`, `first`, `second`, `difference`, `ci95`, `p`, `p_holm`,
        `per_seed` and `holds`: the interval excludes zero, p_holm < 0.05, and the seeds agree in
        the sign.
    """
    found = []
    for family, figures in FAMILIES.items():
        entries = [
            compare_pair(members, draws, first, second, figure) | {"family": family}
            for first, second in PAIRS
            if first in members and second in members
            for figure in figures
            if figure in draws[first]
        ]
        for entry, p_value in zip(entries, holm([e["p"] for e in entries]), strict=True):
            entry["p_holm"] = p_value
            entry["holds"] = holds(entry)
        found += entries
    return found


def compare_pair(
    members: Mapping[str, BySeed], draws: Draws, first: str, second: str, figure: str
) -> dict[str, Any]:
    """Compare one figure of two members on the same objects and seeds."""
    seeds = [seed for seed in members[first] if seed in members[second]]
    per_seed = {
        str(seed): members[first][seed].plain()[figure] - members[second][seed].plain()[figure]
        for seed in seeds
    }
    difference = float(np.mean(list(per_seed.values())))
    drawn = draws[first][figure] - draws[second][figure]
    entry = percentile_metric(difference, drawn)
    return {
        "figure": figure,
        "first": first,
        "second": second,
        "difference": difference,
        "ci95": entry["ci95"],
        "p": centred_p_value(difference, drawn),
        "per_seed": per_seed,
    }


def holds(entry: Mapping[str, Any]) -> bool:
    """Return whether a difference is established: interval, adjusted p and every seed agree."""
    signs = {bool(value > 0) for value in entry["per_seed"].values()}
    return verdict(entry["ci95"], entry["p_holm"]) != LEVEL and len(signs) == 1
