""".npz, .npy records and .pt: arrays by their names, headers, Python objects."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from lavis.common.errors import DataError
from lavis.datasets.readers.files import read_cloud

SPELLINGS = [("xyz", "rgb"), ("points", "colors"), ("coords", "colours"), ("pos", "color")]


@pytest.fixture
def save(tmp_path):
    """Write named arrays as .npz; returns the path."""

    def to_npz(**arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return tmp_path / "a.npz"

    return to_npz


@pytest.mark.parametrize(("coordinates", "colors"), SPELLINGS)
def test_unambiguous_names_are_read(points, save, assert_cloud, coordinates, colors):
    path = save(**{coordinates: points[0], colors: points[1], "label": np.arange(40), "seed": 3})
    cloud = read_cloud(path)
    assert_cloud(cloud)
    assert list(cloud.fields) == ["label"]


def test_point_e_is_read(points, save, assert_cloud):
    red, green, blue = points[1].astype(np.float32).T / np.float32(255)
    cloud = read_cloud(save(coords=points[0], R=red, G=green, B=blue))
    np.testing.assert_array_equal(cloud.xyz, points[0])
    np.testing.assert_allclose(cloud.rgb, points[1] / 255, atol=1e-6)
    assert not cloud.notes


def test_columns_of_their_own_are_read(points, save, assert_cloud):
    x, y, z = points[0].T
    r, g, b = points[1].T
    assert_cloud(read_cloud(save(X=x, Y=y, Z=z, Red=r, Green=g, Blue=b)))


def test_an_only_array_needs_no_name(points, save):
    np.testing.assert_array_equal(read_cloud(save(scan_17=points[0])).xyz, points[0])


def test_arr_0_comes_first_and_array_name_decides(points, save):
    path = save(arr_0=points[0], xyz=points[0] + 1, other=points[0] + 2)
    np.testing.assert_array_equal(read_cloud(path).xyz, points[0])
    np.testing.assert_array_equal(read_cloud(path, "other").xyz, points[0] + 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"xyz": np.eye(3), "coords": np.eye(3)}, "several candidates for coordinates"),
        ({"a": np.eye(3), "b": np.eye(3)}, "several arrays.*a, b"),
        ({"xyz": np.eye(3), "rgb": np.eye(3), "colors": np.eye(3)}, "candidates for colours"),
        ({"xyz": np.eye(3), "rgb": np.ones((4, 3))}, "3 points, but colours"),
        ({"xyz": np.eye(3), "R": np.ones(3), "G": np.ones(2), "B": np.ones(3)}, "do not fit"),
        ({"xyz": np.eye(3), "normals": np.ones((4, 3))}, "3 points, but normal"),
        ({"xyz": np.eye(3), "rgb": np.array(1.0)}, "shape"),
        ({"faces": np.ones((9, 2))}, "no coordinates"),
        ({"xyz": np.eye(3).T[None]}, "shape"),
        ({"x": np.ones(3), "X": np.ones(3)}, "capitals"),
        ({"xyz": np.array([{}, {}])}, "never unpickled"),
    ],
)
def test_doubt_is_refused_with_the_arrays_and_the_key(save, arrays, message):
    with pytest.raises(DataError, match=f"(?s){message}.*array_name"):
        read_cloud(save(**arrays))


def test_an_array_name_that_is_not_there_names_those_that_are(save):
    with pytest.raises(DataError, match=r"no array 'points' .*the file has xyz float64 \[3,3\]"):
        read_cloud(save(xyz=np.eye(3)), "points")


def test_records_of_an_npy_are_read(points, tmp_path, assert_cloud):
    kinds = [*((n, "f8") for n in "xyz"), *((n, "u1") for n in ("red", "green", "blue"))]
    table = np.zeros(40, kinds)
    for place in range(3):
        table["xyz"[place]] = points[0][:, place]
        table[("red", "green", "blue")[place]] = points[1][:, place]
    np.save(tmp_path / "a.npy", table)
    assert_cloud(read_cloud(tmp_path / "a.npy"))


def test_an_npy_of_objects_is_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, []], object), allow_pickle=True)
    with pytest.raises(DataError, match="never unpickled"):
        read_cloud(tmp_path / "a.npy")


def npy_of_shape(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(36)


@pytest.mark.parametrize("shape", ["(10, 3)", "(10**18, 3)", f"({2**63}, 3)", f"({10**18}, 3)"])
def test_a_header_never_asks_for_more_than_the_file(write, shape):
    content = npy_of_shape(shape)
    with pytest.raises(DataError):
        read_cloud(write("a.npy", content))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("xyz.npy", content)
    with pytest.raises(DataError, match="xyz"):
        read_cloud(write("a.npz", packed.getvalue()))


@pytest.mark.parametrize("shape", ["(3, (", "(1, 3)'", '"""', "(" * 60])
def test_a_header_that_is_no_python_is_a_data_error(write, shape):
    with pytest.raises(DataError, match=r"a\.npy"):
        read_cloud(write("a.npy", npy_of_shape(shape)))


@pytest.mark.parametrize("name", ["a.pt", "a.pth"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_tensor_is_read(points, tmp_path, name, dtype):
    local = torch.from_numpy(points[0] - points[0][0]).to(dtype).requires_grad_()
    torch.save(local, tmp_path / name)
    np.testing.assert_array_equal(read_cloud(tmp_path / name).xyz, local.detach().double())


def test_named_tensors_are_read(points, tmp_path, assert_cloud):
    named = {"pos": torch.from_numpy(points[0]), "color": torch.from_numpy(points[1]), "y": 3}
    torch.save(named, tmp_path / "a.pt")
    assert_cloud(read_cloud(tmp_path / "a.pt"))


class Marker:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["a.pt", "a.npy", "a.npz", "a.pkl", "a.txt", "a.ply"])
def test_pickles_are_never_run(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Marker(tmp_path / "ran")))
    with pytest.raises(DataError):
        read_cloud(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_pt_with_python_objects_is_refused(tmp_path):
    torch.save({"pos": torch.eye(3), "extra": Marker(tmp_path / "ran")}, tmp_path / "a.pt")
    with pytest.raises(DataError, match="never unpickled"):
        read_cloud(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


def test_tensors_under_other_names_are_named(tmp_path):
    torch.save({"a": torch.eye(3), "b": torch.eye(3)}, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"(?s)the file has a float32 \[3,3\], b .*array_name"):
        read_cloud(tmp_path / "a.pt")
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.pt", "b").xyz, np.eye(3))


def test_torch_s_old_format_is_refused(tmp_path):
    torch.save(torch.eye(3), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(DataError, match=r"torch\.save"):
        read_cloud(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "content",
    [[torch.eye(3)], {"pos": torch.eye(3).to_sparse()}, torch.zeros(1).expand(2**30, 3), {}],
)
def test_other_tensors_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"a\.pt"):
        read_cloud(tmp_path / "a.pt")
