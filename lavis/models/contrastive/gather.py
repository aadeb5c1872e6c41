"""Tensors of all ranks; in one process the tensor itself."""

from __future__ import annotations

from torch import Tensor

from lavis.common.dist_utils import get_world_size
from lavis.models.base_model import all_gather_with_grad, concat_all_gather


def gather_with_grad(tensor: Tensor) -> Tensor:
    """Concatenate a tensor [B,...] over ranks [world*B,...]; gradients flow back to every rank."""
    return tensor if get_world_size() == 1 else all_gather_with_grad(tensor.contiguous())


def gather(tensor: Tensor) -> Tensor:
    """Concatenate a tensor [B,...] over ranks without gradient."""
    return concat_all_gather(tensor.contiguous())
