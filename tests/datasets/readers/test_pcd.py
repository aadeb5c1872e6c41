"""PCD: ascii, binary and binary_compressed, packed colours, damage."""

import struct

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.readers.files import read_cloud

FIELDS = "FIELDS x y z rgb label _\nSIZE 8 8 8 4 2 1\nTYPE F F F {kind} U U\nCOUNT 1 1 1 1 1 4\n"


def header(data: str, count: int = 40, kind: str = "U") -> str:
    size = f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {data}\n"
    return f"# .PCD v0.7\nVERSION 0.7\n{FIELDS.format(kind=kind)}{size}"


def packed(points) -> np.ndarray:
    red, green, blue = points[1].astype("<u4").T
    return red << 16 | green << 8 | blue


def rows(points) -> np.ndarray:
    kinds = [*((n, "<f8") for n in "xyz"), ("rgb", "<u4"), ("label", "<u2"), ("_", "u1", 4)]
    table = np.zeros(len(points[0]), kinds)
    for place, name in enumerate("xyz"):
        table[name] = points[0][:, place]
    table["rgb"], table["label"] = packed(points), np.arange(len(table))
    return table


def compressed(content: bytes) -> bytes:
    """Compress in the simplest way: literals of 32 bytes, and runs of zeros as references."""
    out, place = bytearray(), 0
    while place < len(content):
        run = len(content) - place - len(content[place:].lstrip(b"\0"))
        if place and content[place - 1] == 0 and run >= 3:
            length = min(run, 264)
            short = min(length - 2, 7)
            out += bytes([short << 5]) + (bytes([length - 9]) if short == 7 else b"") + b"\0"
        else:
            length = min(32 if run == 0 else 1, len(content) - place)
            out += bytes([length - 1]) + content[place : place + length]
        place += length
    return struct.pack("<II", len(out), len(content)) + bytes(out)


def by_field(table: np.ndarray) -> bytes:
    return b"".join(np.ascontiguousarray(table[name]).tobytes() for name in table.dtype.names)


def contents(points) -> dict[str, bytes]:
    table = rows(points)
    text = "\n".join(
        " ".join([*map(repr, xyz.tolist()), str(rgb), str(place), "0 0 0 0"])
        for place, (xyz, rgb) in enumerate(zip(points[0], packed(points)))
    )
    return {
        "ascii": text.encode(),
        "binary": table.tobytes(),
        "binary_compressed": compressed(by_field(table)),
    }


@pytest.mark.parametrize("kind", ["ascii", "binary", "binary_compressed"])
def test_every_encoding_is_read_in_its_own_precision(points, write, assert_cloud, kind):
    cloud = read_cloud(write("a.pcd", header(kind).encode() + contents(points)[kind]))
    assert_cloud(cloud)
    np.testing.assert_array_equal(cloud.fields["label"], np.arange(40))
    assert list(cloud.fields) == ["label"]


@pytest.mark.parametrize("kind", ["binary", "binary_compressed"])
def test_colours_packed_in_floats_are_read(points, write, assert_cloud, kind):
    content = header(kind, kind="F").encode() + contents(points)[kind]
    assert_cloud(read_cloud(write("a.pcd", content)))


def test_colours_packed_in_floats_are_read_from_text(write):
    value = np.array([0x00FF8000], "<u4").view("<f4")[0]
    text = header("ascii", 2, "F") + f"0 0 0 {value!s} 0 0 0 0 0\n1 2 3 {value!s} 0 0 0 0 0\n"
    cloud = read_cloud(write("a.pcd", text))
    np.testing.assert_allclose(cloud.rgb[0] * 255, [255, 128, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("binary", lambda c: c[:-1], "40 points"),
        ("binary", lambda c: c.replace(b"POINTS 40", b"POINTS 41"), r"\[40, 41\]"),
        ("binary", lambda c: c.replace(b" 40\n", b" 4000000000000000000\n"), "4,000,000"),
        ("binary", lambda c: c.replace(b"SIZE 8", b"SIZE 5"), "size 5"),
        ("binary", lambda c: c.replace(b"COUNT 1 ", b"COUNT "), "disagree"),
        ("binary", lambda c: c.replace(b"TYPE F", b"TYPE Q"), "type Q"),
        ("binary", lambda c: c.replace(b"FIELDS x y z", b"FIELDS u v w"), "no coordinates"),
        ("binary", lambda c: c.replace(b"DATA binary", b"DATA zipped"), "zipped"),
        ("binary", lambda c: c[:60], "header"),
        ("ascii", lambda c: c.rsplit(b"\n", 1)[0], "39 lines"),
        ("ascii", lambda c: c.replace(b" 0 0 0 0", b" 0 0 0"), "values a line"),
        ("binary_compressed", lambda c: c[:-1], "declared"),
        ("binary_compressed", lambda c: c.replace(b" 40\n", b" 400000\n"), "declared"),
    ],
)
def test_damage_is_named(points, write, kind, change, message):
    content = header(kind).encode() + contents(points)[kind]
    with pytest.raises(DataError, match=message):
        read_cloud(write("a.pcd", change(content)))


def test_invalid_points_of_an_organised_cloud_are_counted(points, write):
    table = rows(points)
    table["x"][:3] = np.nan
    with pytest.raises(DataError, match="3 points with NaN"):
        read_cloud(write("a.pcd", header("binary").encode() + table.tobytes()))


def test_flipped_compressed_bytes_never_crash(points, write):
    content = header("binary_compressed").encode() + contents(points)["binary_compressed"]
    start, rng = content.index(b"DATA"), np.random.default_rng(0)
    for place in rng.integers(start + 23, len(content), 60):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path = write("a.pcd", bytes(damaged))
        try:
            read_cloud(path)
        except DataError:
            continue
