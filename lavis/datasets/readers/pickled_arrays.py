"""Read pickles of arrays without running any of them: .pkl, and .npy of Python objects.

OpenShape's records, test_pc.npy and xyz_label.npy, and GPT4Point's clouds are such pickles. Every
class that a pickle may name is replaced by one of this file, which only stores its arguments;
every other name is refused. Arrays are then built from the stored bytes, so no code of a pickle
and no `__setstate__` of numpy runs.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lavis.datasets.readers.cloud import Cloud, cloud_of_array, cloud_of_fields

MAX_PICKLE_BYTES = 2**32
MAX_DEPTH = 8
_MEMO_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")


class _Stored:
    """The arguments and the state of an object that a pickle describes."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def build(self, plain: Callable[[Any], Any]) -> Any:
        """Return the value.

        Args:
            plain: makes a value of a nested `_Stored`.
        """
        raise ValueError("a class in place of a value")


class _Name(_Stored):
    """`numpy.ndarray` as an argument of `_reconstruct`."""


class _Dtype(_Stored):
    def build(self, plain: Callable[[Any], Any]) -> np.dtype:
        """Return a type of numbers, text or objects, in the stored byte order."""
        dtype = np.dtype(str(self.args[0]))
        order: Any = self.state[1] if self.state else "="
        if dtype.kind not in "biufSUO" or order not in ("<", ">", "=", "|"):
            raise ValueError(f"an array of {dtype}")
        return dtype if order == "|" else dtype.newbyteorder(order)


class _Array(_Stored):
    def build(self, plain: Callable[[Any], Any]) -> np.ndarray:
        """Return the array of `_reconstruct` and its state."""
        _, shape, dtype, is_fortran, content = self.state
        order = "F" if is_fortran else "C"
        return _array(plain(content), plain(dtype), shape, order)


class _Buffer(_Stored):
    def build(self, plain: Callable[[Any], Any]) -> np.ndarray:
        """Return the array of `_frombuffer` (protocol 5)."""
        content, dtype, shape, order = self.args
        return _array(plain(content), plain(dtype), shape, order)


class _Scalar(_Stored):
    def build(self, plain: Callable[[Any], Any]) -> Any:
        """Return a numpy number as a number of Python."""
        return _array(plain(self.args[1]), plain(self.args[0]), (), "C").item()


class _Bytes(_Stored):
    def build(self, plain: Callable[[Any], Any]) -> bytes:
        """Return bytes that protocols 0 to 2 wrote as text; no argument is no byte."""
        return str(self.args[0]).encode("latin1") if self.args else b""


_READ: dict[tuple[str, str], type[_Stored]] = {
    ("numpy", "ndarray"): _Name,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Bytes,
    ("__builtin__", "bytes"): _Bytes,
    **{
        (f"numpy.{core}.{module}", name): found
        for core in ("core", "_core")
        for module, name, found in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Stored]:
        """Return the replacement of a numpy class; refuse every other name."""
        if (module, name) not in _READ:
            raise ValueError(f"a pickle that needs {module}.{name}, which is never run")
        return _READ[module, name]


def read_pickled(path: str | Path) -> Any:
    """Return the arrays, numbers, texts, lists and mappings of a .pkl or of an .npy of objects.

    Args:
        path: a file of at most `MAX_PICKLE_BYTES`.

    Returns:
        The content. An array of objects [N] is a list of N, one without shape is its content.

    Raises:
        OSError: the file cannot be opened.
        ValueError: damage, another class than numpy's arrays, or deeper nesting than `MAX_DEPTH`.
    """
    path = Path(path)
    if path.stat().st_size > MAX_PICKLE_BYTES:
        raise ValueError(f"{path.stat().st_size:,} bytes, more than {MAX_PICKLE_BYTES:,}")
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            file.seek(0)
            return parse_pickled(file.read())
        file.seek(0)
        version = np.lib.format.read_magic(file)
        one = version == (1, 0)
        header = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
        if not header(file)[2].hasobject:
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
        return parse_pickled(file.read())


def cloud_of_pickle(content: bytes, array_name: str | None = None) -> Cloud:
    """Return the cloud of a pickle of one array [N,3|6] or of a mapping of named arrays.

    Raises:
        ValueError: other content, or see `parse_pickled` and `cloud_of_fields`.
    """
    stored = parse_pickled(content)
    if isinstance(stored, np.ndarray):
        return cloud_of_array(stored)
    if not isinstance(stored, dict):
        raise ValueError(
            f"a pickle of a {type(stored).__name__}, no array and no mapping of arrays"
        )
    arrays = {str(name): value for name, value in stored.items() if isinstance(value, np.ndarray)}
    return cloud_of_fields(arrays, array_name)


def parse_pickled(content: bytes) -> Any:
    """Return the content of a pickle (see `read_pickled`)."""
    try:
        _check_opcodes(content)
        return _Values().plain(_Reader(io.BytesIO(content)).load())
    except ValueError:
        raise
    # What a damaged pickle makes the standard library raise.
    except (pickle.UnpicklingError, EOFError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"a damaged pickle: {type(error).__name__}: {error}") from error
    except (IndexError, OverflowError, MemoryError, RecursionError) as error:
        raise ValueError(f"a damaged pickle: {type(error).__name__}: {error}") from error


def _check_opcodes(content: bytes) -> None:
    """Refuse memo indices beyond the size of the pickle, which only allocate memory."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _MEMO_OPCODES and int(argument or 0) > len(content):
            raise ValueError(f"a pickle with the memo index {argument:,}")


class _Values:
    """Make values of what a pickle stored, each shared object once."""

    def __init__(self) -> None:
        self.done: dict[int, Any] = {}
        self.depth = 0

    def plain(self, stored: Any) -> Any:
        """Return the value of a stored object."""
        if isinstance(stored, str | bytes | bytearray | int | float | None):
            return stored
        if id(stored) in self.done:
            return self.done[id(stored)]
        if self.depth >= MAX_DEPTH:
            raise ValueError(f"a pickle nested deeper than {MAX_DEPTH}")
        self.depth += 1
        value = self._made(stored)
        self.depth -= 1
        self.done[id(stored)] = value
        return value

    def _made(self, stored: Any) -> Any:
        if isinstance(stored, _Stored):
            return stored.build(self.plain)
        if isinstance(stored, dict):
            return {self.plain(key): self.plain(value) for key, value in stored.items()}
        if isinstance(stored, list | tuple):
            return [self.plain(value) for value in stored]
        raise ValueError(f"a pickle with a {type(stored).__name__}")


def _array(content: Any, dtype: np.dtype, shape: Any, order: Any) -> Any:
    """Return an array of bytes, or of a list of objects (see `read_pickled`)."""
    shape = tuple(int(size) for size in shape)
    if any(size < 0 for size in shape) or order not in ("C", "F"):
        raise ValueError(f"an array of shape {shape}")
    if dtype.hasobject:
        if not isinstance(content, list) or len(content) != math.prod(shape) or len(shape) > 1:
            raise ValueError(f"objects of shape {list(shape)}")
        return content if shape else content[0]
    if not isinstance(content, bytes | bytearray):
        raise ValueError("an array without bytes")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{dtype} {list(shape)} in {len(content):,} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order=order)
