"""Checkpoints of this codebase, loaded into a model that was built from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.model_state import load_trainable_state
from lavis.common.utils import get_abs_path
from lavis.models.teachers import check_trained_space


def load_own_checkpoints(model: Any, section: Mapping[str, Any]) -> None:
    """Load `pretrained`, then `finetuned`, of a model that its teachers' `space` names.

    Args:
        model: has `space`; gets `loaded_checkpoint`.
        section: the `model` section.

    Raises:
        CheckpointError: damaged, of other sizes, or trained in another space.
    """
    for key in ("pretrained", "finetuned"):
        if section.get(key):
            path = get_abs_path(section[key])
            where = f"model.{key}: {path}"
            payload = load_checkpoint_file(path, f"model.{key}")
            check_trained_space(payload, model.space, where)
            load_trainable_state(model, payload.get("model", payload), where)
            model.loaded_checkpoint = str(path)
