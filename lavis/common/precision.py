"""Which processors multiply bf16 matrices faster than float32 ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

# x86 with AVX512-BF16 (Zen 4 and later, Cooper Lake) or AMX; Arm names its extension bf16.
_CPU_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


def fast_bf16(device_type: str) -> bool:
    """Return whether bf16 products are native on `cuda` or `cpu`.

    Without the instructions a CPU emulates bf16, about three times slower than float32; with them
    it was measured four times faster (docs/LOG.md).
    """
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return has_bf16_instructions(torch.cpu.get_capabilities())


def has_bf16_instructions(capabilities: Mapping[str, Any]) -> bool:
    """Return whether a CPU described by `torch.cpu.get_capabilities` has bf16 products."""
    return any(capabilities.get(flag) for flag in _CPU_FLAGS)
