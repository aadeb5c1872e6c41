"""What tasks on scenes share: one record per scene, classes, baselines, pictures.

A model's `class_names` are those of the data set, or its first ones: rooms of held-out classes have
further names, whose points then have no label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lavis.common.errors import ConfigError, EvaluationError
from lavis.evaluation.baselines.scene_points import training_scenes
from lavis.evaluation.scenes.pictures import Picture, scene_page, scenes_json
from lavis.evaluation.scenes.resampling import SceneScores
from lavis.tasks.options import TaskOptions, task_option
from lavis.tasks.point_task import PointTask, Scores

LABELS = ("semantic_label", "instance_label")


@dataclass(frozen=True)
class SceneOptions(TaskOptions):
    """Options of tasks on scenes."""

    pictures: int = task_option(4, "scenes of <split>_scenes.html; 0: no page", low=0)


@dataclass(frozen=True)
class SceneItem:
    """One scene of a batch, without padding.

    Attributes:
        instance_id: of the item.
        row: of the batch.
        cloud: float [N,3|6].
        fields: labels [N], boxes, box_label, target_instance, where the batch has them.
    """

    instance_id: str
    row: int
    cloud: np.ndarray
    fields: Mapping[str, Any]

    @property
    def xyz(self) -> np.ndarray:
        """Coordinates [N,3]."""
        return self.cloud[:, :3]

    @property
    def rgb(self) -> np.ndarray:
        """Colours [N,3] in [0,1]; grey where there are none."""
        has = self.cloud.shape[1] == 6
        return self.cloud[:, 3:6] if has else np.full_like(self.cloud[:, :3], 0.5)

    def need(self, name: str, task: str) -> np.ndarray:
        """Return a field.

        Raises:
            EvaluationError: the batch lacks it.
        """
        if name not in self.fields:
            what = f"the data set has no {name}, and {task} needs it"
            fix = "choose a data set of this task (docs/data_sources.md)"
            got = sorted(self.fields)
            raise EvaluationError(what, where=self.instance_id, got=got, fix=fix)
        return np.asarray(self.fields[name])


def scene_items(samples: Mapping[str, Any]) -> Iterator[SceneItem]:
    """Yield the scenes of a batch."""
    clouds = samples["point_cloud"]
    lengths = samples.get("lengths")
    for row, name in enumerate(samples["instance_id"]):
        count = clouds.shape[1] if lengths is None else int(lengths[row])
        fields = {k: array_of(samples[k][row][:count]) for k in LABELS if k in samples}
        others = ("boxes", "box_label", "target_instance")
        fields |= {k: array_of(samples[k][row]) for k in others if k in samples}
        yield SceneItem(str(name), row, array_of(clouds[row, :count]), fields)


def array_of(values: Any) -> np.ndarray:
    """Return a tensor of any device as an array; bfloat16 as float32."""
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    values = values.detach()
    return (values.float() if values.is_floating_point() else values).cpu().numpy()


class SceneTask(PointTask):
    """Base of the tasks on scenes."""

    options_class = SceneOptions

    def check_inputs(self, model: Any, dataset: Any) -> None:
        """Refuse a model that was trained on other classes than the data set has."""
        known_classes(model, dataset)

    def before_evaluation(self, model: Any, dataset: Any, **kwargs: Any) -> None:
        """Read the training scenes for the baselines, once a data set, and choose the pictures."""
        self.check_inputs(model, dataset)
        self.names = [str(name) for name in dataset.class_names]
        ids = [str(record["instance_id"]) for record in dataset.annotation]
        step = max(len(ids) // max(self.options.pictures, 1), 1)
        self.pictured = set(ids[::step][: self.options.pictures])
        altered = getattr(dataset, "alteration", None) is not None  # no claims, so no baselines
        if getattr(self, "_fitted_on", None) is not dataset:
            self._fitted_on = dataset
            self.fit_baselines([] if altered else training_scenes(dataset))

    def fit_baselines(self, scenes: list[dict[str, np.ndarray]]) -> None:
        """Learn from training scenes; there may be none."""

    def drawn(self, item: SceneItem, picture: Any) -> dict[str, Any]:
        """Return {"picture": …} of a scene that is shown; `picture` makes it."""
        return {"picture": picture()} if item.instance_id in self.pictured else {}

    def scene_scores(
        self,
        found: SceneScores,
        baselines: Mapping[str, SceneScores],
        records: list[dict[str, Any]],
        reason: str,
        extra: Mapping[str, Any] | None = None,
    ) -> Scores:
        """Compose the scores of a task from those of the model and its baselines."""
        name, metrics = found.scene_metric, found.metrics()
        unavailable = found.unavailable(reason)
        claimed = metrics[name]["value"] is not None
        rows = {k: scores.items() for k, scores in baselines.items()} if claimed else {}
        return Scores(
            metrics=metrics,
            baselines={k: scores.baseline() for k, scores in baselines.items()},
            agg_metrics=metrics[found.headline]["value"],
            extra={
                "per_class": found.per_class,
                **(extra or {}),
                **({"unavailable": unavailable} if unavailable else {}),
            },
            predictions=[
                {"instance_id": r["instance_id"], name: found.items().get(r["instance_id"])}
                | r.get("prediction", {})
                for r in records
            ],
            per_item={name: found.items()} if claimed else {},
            baseline_items={k: {name: items} for k, items in rows.items() if items},
            claims=[name] if claimed else [],
            files=picture_files(records, self.name),
        )


def picture_files(records: list[dict[str, Any]], title: str) -> dict[str, str | bytes]:
    """Return the page of the scenes that are shown, and what a report draws them from."""
    pictures: list[Picture] = [r["picture"] for r in records if "picture" in r]
    if not pictures:
        return {}
    return {"scenes.html": scene_page(title, pictures), "scenes.json": scenes_json(pictures)}


def known_classes(model: Any, dataset: Any) -> int:
    """Return the number of classes that a model was trained on.

    Raises:
        ConfigError: they are not the first ones of the data set.
    """
    own, names = list(model.class_names), list(dataset.class_names)
    if not own or names[: len(own)] != own:
        differ = [k for k, (a, b) in enumerate(zip(own, names, strict=False)) if a != b]
        place = differ[0] if differ else min(len(own), len(names))
        raise ConfigError(
            "the model has other classes than the data set",
            where=f"model.labels, class {place}",
            got=f"{len(own)} classes, {own[place : place + 3]}",
            expected=f"{len(names)} classes or the first of them, {names[place : place + 3]}",
            fix="list the data set's classes in their order under model.labels",
        )
    return len(own)
