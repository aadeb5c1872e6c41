"""Text: separators, headers, counts, normals, damage."""

import numpy as np
import pytest

from lavis.common.errors import DataError
from lavis.datasets.readers.files import read_cloud


def lines(points, separator: str = " ", rows=slice(None)) -> str:
    pairs = zip(points[0][rows].tolist(), points[1][rows].tolist())
    return "\n".join(separator.join(map(repr, [*xyz, *rgb])) for xyz, rgb in pairs) + "\n"


@pytest.mark.parametrize("separator", [" ", "\t", ", ", ",", ";", "   "])
@pytest.mark.parametrize("suffix", [".txt", ".xyz", ".csv", ".asc", ".pts"])
def test_six_columns_are_points_and_colours(points, write, assert_cloud, suffix, separator):
    assert_cloud(read_cloud(write(f"a{suffix}", lines(points, separator))))


@pytest.mark.parametrize(
    "head",
    ["// a comment\n#another\n", "//X Y Z R G B\n", '"x","y","z","red","green","blue"\n', "40\n"],
)
def test_lines_before_the_points(points, write, assert_cloud, head):
    assert_cloud(read_cloud(write("a.txt", head + lines(points, ","))))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_first_number(points, write, assert_cloud, encoding):
    assert_cloud(read_cloud(write("a.xyz", lines(points).encode(encoding))))


def test_named_columns_may_come_in_any_order(write):
    text = "label z y x nx ny nz\n4 3 2 1 0 0 1\n5 6 7 8 0 1 0\n"
    cloud = read_cloud(write("a.csv", text))
    np.testing.assert_array_equal(cloud.xyz, [[1, 2, 3], [8, 7, 6]])
    np.testing.assert_array_equal(cloud.fields["label"], [4, 5])
    np.testing.assert_array_equal(cloud.fields["normal"], [[0, 0, 1], [0, 1, 0]])
    assert cloud.rgb is None


def test_the_intensity_of_pts_is_a_field(write):
    cloud = read_cloud(write("a.pts", "2\n0 0 0 -900 255 0 9\n1 1 1 -800 255 9 0\n"))
    np.testing.assert_array_equal(cloud.fields["intensity"], [-900, -800])
    assert cloud.rgb[0, 0] == 1


def test_normals_of_modelnet40_are_normals(write):
    text = "0.1,0.2,0.3,0,0,-1\n0.4,0.5,0.6,0.6,0.8,0\n"
    cloud = read_cloud(write("airplane_0001.txt", text))
    assert cloud.rgb is None
    np.testing.assert_allclose(cloud.fields["normal"], [[0, 0, -1], [0.6, 0.8, 0]], atol=1e-7)
    assert "from -1 to 0.8" in cloud.notes["normals"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no points"),
        ("# nothing\n", "no points"),
        ("1 2 3\n4 5\n", "columns"),
        ("1 2 3\n4 five 6\n", "five"),
        ("3\n0 0 0\n1 1 1\n", "3 points declared, 2 in the file"),
        ("1 2 3 4\n5 6 7 8\n", "4 columns"),
        ("x y z r\n1 2 3\n5 6 7\n", "3 columns under the names"),
        ("OFF\n3 1 0\n0 0 0\n", "OFF"),
        ("v 1 2 3\nv 4 5 6\n", "v 1 2 3"),
        ("1 2 nan\n4 5 6\n", "NaN"),
        ("1 2 3 -4 5 6\n4 5 6 7 8 9\n", "colours from -4 to 9"),
        ("1,5 2,5 3,5\n1,5 2,5 3,6\n", "5 2"),
    ],
)
def test_what_is_no_cloud_is_named(write, text, message):
    with pytest.raises(DataError, match=message):
        read_cloud(write("a.txt", text))
