"""Options that trade time for memory or compile time for time, without changing the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper


def block_stacks(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    """Yield (name, stack) of every list of two or more equal modules: a transformer's blocks."""
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) > 1:
            kinds = {type(block) for block in module}
            if len(kinds) == 1 and any(True for _ in module[0].parameters()):
                yield name, module


def checkpoint_activations(model: nn.Module) -> int:
    """Recompute blocks in the backward pass rather than keep what they computed.

    Blocks with batch normalisation are left as they are: recomputing would count the batch twice in
    its running statistics.

    Returns:
        How many blocks are recomputed.
    """
    count = 0
    for _, stack in list(block_stacks(model)):
        for index, block in enumerate(stack):
            if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in block.modules()):
                stack[index] = checkpoint_wrapper(block)
                count += 1
    return count
