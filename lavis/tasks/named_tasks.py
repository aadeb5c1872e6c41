"""Tasks of the named evaluations of a run: `run.evaluations`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from omegaconf import OmegaConf

from lavis.common.registry import registry
from lavis.config.evaluation_check import PLACE


def named_tasks(run_cfg: Any) -> dict[str, Any]:
    """Return the task of each named evaluation: the run section overlaid by its options."""
    place = {field.name for field in PLACE}
    tasks = {}
    for name, section in (run_cfg.get("evaluations") or {}).items():
        options = {key: value for key, value in section.items() if key not in place}
        own = OmegaConf.merge(run_cfg, options, {"task": section.task})
        tasks[name] = registry.get_task_class(section.task).setup_task(
            cfg=SimpleNamespace(run_cfg=own)
        )
    return tasks
