"""Scores over scenes: of the split, of each scene, and their 95% interval, in one pass.

A metric that is no mean over scenes (mIoU, AP) is a function of how often each scene counts. So one
matrix of weights asks for everything: row 0 counts every scene once, rows 1 to S one scene each,
and the others are bootstrap resamples of the scenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.evaluation.intervals import mean_ci

N_RESAMPLES = 200  # AP is computed anew in each: 37 classes, 10 overlaps


def scene_weights(scenes: int, n_resamples: int = N_RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return how often each scene counts: float64 [1 + S + R, S]."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=n_resamples)
    return np.concatenate([np.ones((1, scenes)), np.eye(scenes), draws])


def mean_of_defined(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the mean of the values that are not NaN; NaN where there is none."""
    defined = np.isfinite(values)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    count = defined.sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True)
class SceneValues:
    """A metric under every row of `scene_weights`.

    Attributes:
        rows: [1 + S + R]; NaN where it is undefined.
        scenes: S.
    """

    rows: np.ndarray
    scenes: int

    @property
    def value(self) -> float | None:
        """The metric over all scenes; None where it is undefined."""
        return float(self.rows[0]) if np.isfinite(self.rows[0]) else None

    @property
    def entry(self) -> dict[str, Any]:
        """Value and interval in the shape of a metrics record."""
        if self.value is None:
            return {"value": None, "ci95": None}
        draws = self.rows[1 + self.scenes :]
        draws = draws[np.isfinite(draws)]
        if not len(draws):
            return {"value": self.value, "ci95": None}
        return {"value": self.value, "ci95": np.percentile(draws, [2.5, 97.5]).tolist()}

    def items(self, ids: Sequence[str]) -> dict[str, float]:
        """Return {scene: value} of the scenes in which it is defined."""
        own = self.rows[1 : 1 + self.scenes]
        return {i: float(v) for i, v in zip(ids, own, strict=True) if np.isfinite(v)}


@dataclass(frozen=True)
class SceneScores:
    """Scores of a split of scenes.

    Attributes:
        values: {metric: its values}.
        ids: of the S scenes.
        headline: metric whose mean over scenes is compared with the baselines, "scene_<name>".
        per_class: {class: {metric: value or None}}.
    """

    values: dict[str, SceneValues]
    ids: list[str]
    headline: str
    per_class: dict[str, dict[str, float | None]]

    @property
    def scene_metric(self) -> str:
        """Name of the mean over scenes of the headline metric."""
        return f"scene_{self.headline}"

    def items(self) -> dict[str, float]:
        """Return {scene: headline metric of this scene alone}, where it is defined."""
        return self.values[self.headline].items(self.ids)

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Return all metrics with intervals over scenes."""
        items = list(self.items().values())
        mean = {"value": None, "ci95": None}
        if items:
            mean = {"value": float(np.mean(items)), "ci95": list(mean_ci(items))}  # type: ignore[dict-item]
        return {name: v.entry for name, v in self.values.items()} | {self.scene_metric: mean}

    def unavailable(self, reason: str) -> dict[str, str]:
        """Return {undefined metric: reason}."""
        return {name: reason for name, e in self.metrics().items() if e["value"] is None}

    def baseline(self) -> dict[str, float | None]:
        """Return the values as a row of the baselines."""
        return {name: entry["value"] for name, entry in self.metrics().items()}


def defined(value: float | np.floating[Any]) -> float | None:
    """Return a number, None for NaN."""
    return float(value) if np.isfinite(value) else None


def class_rows(
    names: Sequence[str], columns: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float | None]]:
    """Return {class: {metric: value}} of columns [K]."""
    return {
        name: {metric: defined(column[k]) for metric, column in columns.items()}
        for k, name in enumerate(names)
    }
