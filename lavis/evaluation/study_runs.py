"""PointLLM-Contrastive in tables of systems: the alignment study's records as runs of its own.

The study (docs/alignment_study.md) compares losses; its record holds the figures of each. The
system is the contrastive projector whose captions it scored, chosen on the validation split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lavis.evaluation.run_records import RunRecord
from lavis.evaluation.training_cost import TrainingCost

SYSTEM = "point-llm-contrastive"
TASK = "alignment_study"
_RETRIEVAL = ("text_to_object/recall_at_1", "object_to_text/recall_at_1")


def study_runs(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return retrieval (all seeds) and captions (one seed) of each study among the runs."""
    return [found for run in runs if run.record["task"] == TASK for found in _runs(run)]


def study_costs(runs: Sequence[RunRecord]) -> dict[str, TrainingCost]:
    """Return {system: object-views of a training}; the study records neither time nor memory."""
    costs = {}
    for run in runs:
        if run.record["task"] == TASK:
            protocol = run.record["extra"]["protocol"]
            views = protocol["steps"] * protocol["batch_size"]
            costs[SYSTEM] = TrainingCost(("projector",), views, None, None, "")
    return costs


def _runs(run: RunRecord) -> list[RunRecord]:
    extra = run.record["extra"]
    member = extra["members"][extra["texts"]["members"]["contrastive"]]
    seeds = [_changed(run, "point_retrieval", _values(own)) for own in member["seeds"].values()]
    retrieval = {name: member["figures"][name] for name in _RETRIEVAL}
    captions = extra["texts"]["captions"]
    written = {captions["metric"]: captions["contrastive"]}
    return [
        RunRecord(
            f"{SYSTEM}_retrieval",
            _changed(run, "point_retrieval", retrieval),
            run.where,
            tuple(seeds),
        ),
        RunRecord(f"{SYSTEM}_captioning", _changed(run, "point_captioning", written), run.where),
    ]


def _values(figures: Mapping[str, float]) -> dict[str, Any]:
    return {name: {"value": figures[name], "ci95": None} for name in _RETRIEVAL}


def _changed(run: RunRecord, task: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study's record as one of another task; its baselines are those of other rows."""
    own = {"task": task, "metrics": dict(metrics), "baselines": {}, "claims": {}, "extra": {}}
    return {**run.record, **own}
