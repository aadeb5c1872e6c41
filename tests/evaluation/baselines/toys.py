"""Six tiny coloured objects, so that every baseline has a known answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

COLORS = {"red": (1.0, 0.0, 0.0), "orange": (1.0, 0.5, 0.0)}


def solid(edges: tuple[float, float, float], color: str, seed: int, ball: bool = False) -> Any:
    """Return the cloud [400,6] of a box, or of an ellipsoid, with the given edges."""
    points = np.random.default_rng(seed).uniform(-1, 1, (400, 3))
    points[:2] = [[1, 1, 1], [-1, -1, -1]]
    if ball:
        points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
        points[:6] = [*np.eye(3), *-np.eye(3)]
    xyz = points * np.array(edges) / 2
    return np.hstack([xyz, np.tile(COLORS[color], (400, 1))]).astype(np.float32)


class ToyStore:
    """Clouds in studs with all boxes known at once."""

    def __init__(self, clouds: dict[str, np.ndarray]) -> None:
        self.clouds = clouds
        self.loads = 0

    def load(self, object_id: str) -> np.ndarray:
        self.loads += 1
        return self.clouds[object_id]

    def scale(self, object_id: str) -> float:
        return 1.0

    def box_sizes(self) -> dict[str, np.ndarray]:
        return {i: np.ptp(cloud[:, :3], axis=0) for i, cloud in self.clouds.items()}


CLOUDS = {
    "brick24": solid((2, 1.2, 4), "red", 0),
    "brick28": solid((2, 1.2, 8), "orange", 1),
    "plate24": solid((2, 0.4, 4), "red", 2),
    "ball": solid((4, 4, 4), "red", 3, ball=True),
    "asked_brick": solid((2, 1.2, 6), "orange", 4),
    "asked_ball": solid((5, 5, 5), "red", 5, ball=True),
}
TRAIN = [
    ("brick24", "brick 2 x 4", "brick", "red"),
    ("brick28", "brick 2 x 8", "brick", "orange"),
    ("plate24", "plate 2 x 4", "plate", "red"),
    ("ball", "ball", "ball", "red"),
]
ASKED = ["asked_brick", "asked_ball"]


def records() -> list[dict[str, str]]:
    """Return the training records of captions and classes."""
    return [
        {
            "object_id": name,
            "caption": caption,
            "colored_caption": f"{'an' if color == 'orange' else 'a'} {color} {caption}",
            "category": category,
            "color": color,
        }
        for name, caption, category, color in TRAIN
    ]


def dataset(train: list[dict[str, Any]] | None = None, store: Any = None, **keys: Any) -> Any:
    """Return a stand-in of a data set in studs, or in the given unit."""
    store = ToyStore(CLOUDS) if store is None else store
    rows = records() if train is None else train
    keys = {"unit": "stud", **keys}
    return SimpleNamespace(point_store=store, train_annotation=lambda: rows, **keys)
