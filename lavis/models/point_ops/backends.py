"""The back ends and which of them serves a tensor.

A back end is a module with `farthest_point_sample`, `knn` and `ball_query` over checked float32
tensors (signatures: `reference.py`). Adding one is a module and an entry of `BACKENDS`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

import torch

from lavis.common.errors import ConfigError, DependencyError, nearest

BACKENDS = {
    "torch": "lavis.models.point_ops.reference",
    "numba": "lavis.models.point_ops.cpu",
    "triton": "lavis.models.point_ops.gpu",
}


def has_triton() -> bool:
    """Whether Triton is installed; CUDA builds of torch bring it, CPU builds do not."""
    return importlib.util.find_spec("triton") is not None


def resolve_backend(backend: str, device: torch.device) -> str:
    """Return the back end that `backend` means on `device`.

    "auto" is numba on the CPU, Triton on CUDA where it is installed, and torch elsewhere.

    Raises:
        ConfigError: for an unknown name, or a back end that does not run on `device`.
        DependencyError: for "triton" where it is not installed.
    """
    if backend == "auto":
        if device.type == "cpu":
            return "numba"
        return "triton" if device.type == "cuda" and has_triton() else "torch"
    if backend not in BACKENDS:
        known = ["auto", *BACKENDS]
        message = f"Unknown back end {backend!r}.{nearest(backend, known)}"
        raise ConfigError(message, where="backend", got=backend, expected=known)
    if backend == "triton" and not has_triton():
        raise DependencyError(
            "The triton back end needs the package triton.",
            where="backend",
            fix='use backend="auto", or install a CUDA build of torch',
        )
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # Triton's own switch for debugging
    runs_on = {"numba": ["cpu"], "triton": ["cuda", "cpu"] if interpreted else ["cuda"]}
    if device.type not in runs_on.get(backend, [device.type]):
        raise ConfigError(
            f"The {backend} back end runs on {runs_on[backend][0].upper()} tensors.",
            where="backend",
            got=f"tensors on {device}",
            fix='use backend="auto" or backend="torch"',
        )
    return backend


def load_backend(backend: str, device: torch.device) -> ModuleType:
    """Import the chosen back end on first use, so that a GPU run never loads numba."""
    return importlib.import_module(BACKENDS[resolve_backend(backend, device)])
