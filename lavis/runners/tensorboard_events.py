"""Scalars as a TensorBoard event file, without installing TensorBoard.

A file is a sequence of records: length (uint64), its masked CRC-32C, the message, its masked
CRC-32C. A message is an `Event` in protocol-buffer encoding, of which scalars need five fields.

References:
    github.com/tensorflow/tensorboard, tensorboard/compat/proto/{event,summary}.proto
    CRC-32C: RFC 3720, appendix B.4 (polynomial 0x1EDC6F41, reflected)
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

_MASK_DELTA = 0xA282EAD8
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(content: bytes) -> int:
    """Return the CRC-32C of `content`."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _masked(content: bytes) -> bytes:
    crc = crc32c(content)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _nested(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content


def scalar_event(step: int, values: Mapping[str, float], wall_time: float) -> bytes:
    """Return the message that holds `values` at `step`."""
    summary = b"".join(
        _nested(
            1, _nested(1, tag.encode()) + _key(2, _FLOAT) + struct.pack("<f", as_float32(value))
        )
        for tag, value in values.items()
    )
    head = _key(1, _DOUBLE) + struct.pack("<d", wall_time) + _key(2, _VARINT) + _varint(step)
    return head + _nested(5, summary)


def as_float32(value: float) -> float:
    """Return `value` within what a 32-bit float can hold (infinity beyond)."""
    limit = 3.4028234e38
    return value if not abs(value) > limit else float("inf") * (1 if value > 0 else -1)


class EventFile:
    """Appends scalars to a new event file of `folder`.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{now:.6f}.{socket.gethostname()}"
        self._file = open(folder / name, "wb")  # noqa: SIM115 - open until close()
        head = _key(1, _DOUBLE) + struct.pack("<d", now) + _nested(3, b"brain.Event:2")
        self._write(head)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append scalars {tag: value} and hand them to the system."""
        self._write(scalar_event(step, values, time.time()))

    def _write(self, message: bytes) -> None:
        length = struct.pack("<Q", len(message))
        self._file.write(length + _masked(length) + message + _masked(message))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
