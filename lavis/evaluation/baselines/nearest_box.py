"""Nearest-box answer baseline: uses the size of an object, not its shape or colour.

Each question is answered like the training question of its type whose object has the most similar
box: the nearest by the logarithms of the three edges, so that equal ratios count equally. A model
with size input that does not beat this baseline has not shown that it uses shape.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lavis.common.errors import EvaluationError

# Edges below this share of the longest count as so long: no logarithm of zero.
_THINNEST = 1e-3


class NearestBoxAnswerer:
    """Answers learnt from training questions and the boxes of their objects.

    Args:
        train_records: records with `question_type`, `object_id` and `answer`.
        boxes: {object id: edges [3]}, of training and evaluated objects.

    Raises:
        EvaluationError: a training question whose object has no box.
    """

    def __init__(
        self, train_records: Iterable[Mapping[str, Any]], boxes: Mapping[str, np.ndarray]
    ) -> None:
        self.boxes = boxes
        answers: dict[str, list[str]] = defaultdict(list)
        edges: dict[str, list[np.ndarray]] = defaultdict(list)
        for record in train_records:
            kind = record["question_type"]
            answers[kind].append(str(record["answer"]))
            edges[kind].append(self._log_edges(record["object_id"]))
        self.answers = dict(answers)
        self.edges = {kind: np.stack(rows) for kind, rows in edges.items()}  # [M,3] each

    def __call__(self, question_type: str, object_id: str) -> str:
        """Answer a question; "" where training has none of its type."""
        if question_type not in self.edges:
            return ""
        offset = self.edges[question_type] - self._log_edges(object_id)  # [M,3]
        return self.answers[question_type][int(np.square(offset).sum(axis=1).argmin())]

    def _log_edges(self, object_id: str) -> np.ndarray:
        box = self.boxes.get(object_id)
        if box is None:
            raise EvaluationError(
                "an object has no box", where=f"object {object_id}", expected="edges [3]"
            )
        return np.log(np.maximum(box, max(float(box.max()) * _THINNEST, 1e-6)))
