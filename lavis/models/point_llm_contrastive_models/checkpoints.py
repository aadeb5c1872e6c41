"""Projector files: those of our runner, and those of the release.

The release keeps `projector_state_dict`, `special_token_embeddings` {p_start, p_end} and
`projector_config` in one file; `initial_projector_weights.pth` has the first and the last.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lavis.common.checkpoint import load_checkpoint_file, save_checkpoint
from lavis.common.errors import CheckpointError

if TYPE_CHECKING:
    from lavis.models.point_llm_contrastive_models.point_llm_contrastive import (
        PointLLMContrastive,
    )

INITIAL_FILE = "initial_projector_weights.pth"


def save_initial_projector(model: PointLLMContrastive, folder: str | Path) -> Path:
    """Write the projector as it is, in the layout of the release's initial file.

    Returns:
        The file's path.
    """
    path = Path(folder) / INITIAL_FILE
    payload = {
        "projector_state_dict": model.projector.state_dict(),
        "projector_config": model.projector.sizes,
        "model_name": model.llm_name,
        "seed": model.projector_seed,
    }
    save_checkpoint(payload, path)
    return path


def load_projector(model: PointLLMContrastive, path: str | Path, key: str) -> None:
    """Load a projector, and the boundary tokens where the file has them.

    Args:
        model: is changed in place; `loaded_checkpoint` and `trained_steps` describe the file.
        path: a checkpoint of our runner, or a projector file of the release.
        key: the yaml key that named it, for messages.

    Raises:
        CheckpointError: there is no projector in the file, or one of other sizes.
    """
    payload = load_checkpoint_file(path, key=key)
    state = payload.get("projector_state_dict")
    if state is None:
        trained = payload.get("model", payload)
        prefix = "projector."
        state = {n.removeprefix(prefix): t for n, t in trained.items() if n.startswith(prefix)}
        _load_boundaries(model, trained)
    else:
        _load_published_boundaries(model, payload)
    _check_fit(model.projector, state, f"{key}: {path}")
    model.projector.load_state_dict(state)
    model.loaded_checkpoint = str(path)
    model.trained_steps = payload.get("state", payload).get("global_step")


def _check_fit(projector: nn.Module, state: dict[str, torch.Tensor], where: str) -> None:
    """Refuse a projector of another shape, naming the first difference."""
    own = projector.state_dict()
    differing = [
        f"{name}: {list(state[name].shape) if name in state else 'absent'}"
        f" for {list(own[name].shape) if name in own else 'nothing'}"
        for name in [*own, *(n for n in state if n not in own)]
        if name not in state or name not in own or state[name].shape != own[name].shape
    ]
    if differing:
        raise CheckpointError(
            "the projector does not fit this model",
            where=where,
            got="; ".join(differing[:4]),
            expected="the llm, point_encoder, hidden_dim and match_text_norm of its training",
            fix="copy the model section of the recipe that trained it",
        )


def _load_boundaries(model: PointLLMContrastive, trained: dict[str, torch.Tensor]) -> None:
    """Take the boundary tokens of our own checkpoint, when it trained them."""
    own = {n: p for n, p in model.named_parameters() if not n.startswith("projector.")}
    for name, value in trained.items():
        if name in own and own[name].shape == value.shape:
            own[name].data.copy_(value)


def _load_published_boundaries(model: PointLLMContrastive, payload: dict[str, Any]) -> None:
    """Take `special_token_embeddings` of a release file, when it has them."""
    rows = payload.get("special_token_embeddings")
    if rows is not None:
        model.set_boundaries(torch.stack([rows["p_start"], rows["p_end"]]))
