"""Read .pt and .pth: tensors alone. `weights_only` refuses everything that could run code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.datasets.readers.cloud import Cloud, cloud_of_array, cloud_of_fields
from lavis.datasets.readers.numpy_files import MAX_CLOUD_BYTES


def cloud_of_torch(path: Path, array_name: str | None = None) -> Cloud:
    """Return the cloud of a file with one tensor [N,3|6] or a mapping of named tensors.

    Raises:
        ValueError: other content, Python objects, or see `cloud_of_fields`.
    """
    content = _load(path)
    if isinstance(content, torch.Tensor):
        return cloud_of_array(_array("the tensor", content))
    if not isinstance(content, Mapping):
        raise ValueError(f"a {type(content).__name__}, no tensor and no mapping of tensors")
    return cloud_of_fields(tensors(content), array_name)


def tensors(content: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """Return the tensors of a mapping as arrays."""
    named = {str(n): v for n, v in content.items() if isinstance(v, torch.Tensor)}
    return {name: _array(name, value) for name, value in named.items()}


def _load(path: Path) -> Any:
    """Return the content, read without running any of it.

    The format of torch before 1.6 is refused: it declares sizes that are allocated unchecked.
    """
    with open(path, "rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04" and zipfile.is_zipfile(file)
    if not is_zip:
        raise ValueError("no file of torch.save (1.6 or later)")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > MAX_CLOUD_BYTES:
        raise ValueError(f"{unpacked:,} bytes when unpacked")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError("Python objects and tensors; objects are never unpickled") from error


def _array(name: str, tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor as an array; bfloat16, which numpy lacks, as float32."""
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise ValueError(f"{name}: a tensor that is not dense")
    if tensor.numel() * tensor.element_size() > MAX_CLOUD_BYTES:  # also of a repeated view
        raise ValueError(f"{name}: a tensor {list(tensor.shape)}")
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
