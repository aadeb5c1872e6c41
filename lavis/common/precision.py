"""Which processors multiply bf16 matrices faster than float32 ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lavis.common.errors import require_choice

DTYPES = ("float32", "bfloat16", "float16", "auto")
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


def resolve_dtype(name: str, where: str = "model.llm_dtype") -> torch.dtype:
    """Return the dtype of a yaml value; `auto` is bfloat16 where products in it are native.

    Args:
        name: float32, bfloat16, float16 or auto.
        where: the yaml key, for the message.

    Raises:
        ConfigError: another name.
    """
    require_choice("dtype", name, DTYPES, where)
    if name == "auto":
        fast = fast_bf16("cuda" if torch.cuda.is_available() else "cpu")
        return torch.bfloat16 if fast else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype
