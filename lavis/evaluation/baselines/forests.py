"""Forests on hand-made features: scikit-learn, fixed seeds, fitted once per process.

Trees are fitted in parallel, each with its own seed; votes are summed in one thread, so results do
not depend on the number of threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

N_TREES = 200
# Share of the columns tried at each split. val of bricks v2, category: root 49.5, 0.3 51.2.
MAX_FEATURES = 0.3
SEED = 0
_fitted: dict[str, Any] = {}
_KEPT = 32  # forests in memory; the oldest is dropped first


def class_posterior(
    kind: str, features: np.ndarray, labels: Sequence[str], asked: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Fit a forest, or reuse the one of the same data, and return its votes.

    Args:
        kind: "extra_trees" or "random_forest".
        features: [m,F] of the training items.
        labels: [m].
        asked: [n,F], features of the evaluated items.

    Returns:
        The distinct labels (K) and the posterior float64 [n,K].
    """
    forest = fitted_forest(kind, features, labels)
    return list(forest.classes_), forest.predict_proba(asked)


def fitted_forest(kind: str, features: np.ndarray, labels: Sequence[str]) -> Any:
    """Return the forest of these data; equal data share one."""
    features = np.ascontiguousarray(features, dtype=np.float32)
    content = hashlib.sha256(features.tobytes())
    content.update("\0".join(labels).encode())
    key = f"{kind}-{features.shape}-{content.hexdigest()}"
    if key not in _fitted:
        from sklearn import ensemble  # a second of import that most commands do not need

        kinds = {
            "extra_trees": ensemble.ExtraTreesClassifier,
            "random_forest": ensemble.RandomForestClassifier,
        }
        forest = kinds[kind](N_TREES, max_features=MAX_FEATURES, random_state=SEED, n_jobs=-1)
        forest.fit(features, np.asarray(labels))
        _fitted[key] = forest.set_params(n_jobs=1)
        if len(_fitted) > _KEPT:
            _fitted.pop(next(iter(_fitted)))
    return _fitted[key]
