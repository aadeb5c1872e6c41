"""Question answering: exact match per family, beside the most frequent training answer."""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.evaluation.qa import exact_match, most_frequent_answers, qa_scores
from lavis.tasks.point_task import PointTask, Scores


@registry.register_task("point_qa")
class PointQATask(PointTask):
    """Answer each question; result entries hold question, family, answer and prediction."""

    name = "point_qa"
    id_key = "question_id"

    def expected_ids(self, dataset: Any) -> list[str]:
        """Ids of the split's questions."""
        return [str(entry["question_id"]) for entry in dataset.annotation]

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Answer a batch of questions."""
        answers = model.predict_answers(
            samples,
            num_beams=int(self.run_cfg.get("num_beams", 1)),
            max_len=int(self.run_cfg.get("max_len", 12)),
        )
        keys = ("question_id", "object_id", "question", "answer", "family")
        rows = zip(*(samples[key] for key in keys), answers, strict=True)
        return [dict(zip((*keys, "prediction"), map(str, row), strict=True)) for row in rows]

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Exact and refined match, overall and per family."""
        answers = {r["question_id"]: r["answer"] for r in records}
        families = {r["question_id"]: r["family"] for r in records}
        predictions = {r["question_id"]: r["prediction"] for r in records}
        scores = qa_scores(predictions, answers, families)
        frequent = most_frequent_answers(dataset.train_annotation())
        guesses = {i: frequent.get(family, "") for i, family in families.items()}
        for record in records:
            record["correct"] = exact_match(record["prediction"], [record["answer"]])
        return Scores(
            metrics=scores.metrics(),
            baselines={"most_frequent_answer": qa_scores(guesses, answers, families).values},
            agg_metrics=scores.values["exact_match"],
            extra={"per_family": scores.per_family, "most_frequent": frequent},
        )
