"""Pre-training (stages 1 and 2): the losses of a validation split select the best checkpoint."""

from __future__ import annotations

from typing import Any

from lavis.common.registry import registry
from lavis.evaluation.intervals import mean_ci
from lavis.tasks.point_task import PointTask, Scores


@registry.register_task("point_text_pretrain")
@registry.register_task("image_text_pretrain")
class PointTextPretrainTask(PointTask):
    """Train a model on its own losses; validate by them."""

    name = "point_text_pretrain"
    metric_names = ("loss", "loss_*")

    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Record each item with its batch's losses."""
        losses = {k: float(v) for k, v in model(samples).items() if k.startswith("loss")}
        return [{"instance_id": str(i)} | losses for i in samples["instance_id"]]

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Average the losses; the best checkpoint has the lowest total."""
        names = sorted(key for key in records[0] if key.startswith("loss"))
        metrics = {}
        for name in names:
            values = [record[name] for record in records]
            metrics[name] = {"value": sum(values) / len(values), "ci95": list(mean_ci(values))}
        return Scores(metrics=metrics, baselines={}, agg_metrics=-metrics["loss"]["value"])
