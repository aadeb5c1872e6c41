"""Operators and back ends against loops written from the definition."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.errors import ConfigError, ShapeError
from lavis.models.point_ops import (
    farthest_point_sample,
    gather_points,
    group_points,
    has_triton,
    knn,
    resolve_backend,
)

BACKENDS = ["torch", "numba"]
KINDS = ["grid", "normal", "duplicates", "same"]
FEW = settings(max_examples=25, deadline=None)


def make_clouds(seed: int, batch_size: int, num_points: int, kind: str) -> torch.Tensor:
    """Return float32 clouds [B,N,3]: grids and duplicates provoke ties."""
    rng = np.random.default_rng(seed)
    shape = (batch_size, num_points, 3)
    if kind == "grid":
        points = rng.integers(-2, 3, shape)
    elif kind == "normal":
        points = rng.standard_normal(shape)
    elif kind == "duplicates":
        few = rng.standard_normal((batch_size, max(1, num_points // 4), 3))
        points = few[:, rng.integers(0, few.shape[1], num_points)]
    else:
        points = np.full(shape, 0.25)
    return torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))


clouds = st.builds(
    make_clouds,
    seed=st.integers(0, 2**16),
    batch_size=st.integers(1, 3),
    num_points=st.integers(1, 150),
    kind=st.sampled_from(KINDS),
)


def squared_distance(first: np.ndarray, second: np.ndarray) -> np.float32:
    """Return the float32 squared distance of two points in the documented rounding order."""
    dx, dy, dz = (np.float32(a) - np.float32(b) for a, b in zip(first, second))
    return np.float32(np.float32(dx * dx + dy * dy) + dz * dz)


def slow_fps(points: np.ndarray, num_samples: int, start: int) -> list[int]:
    """Pick by definition; max() keeps the first of equals."""
    picked = [start]
    nearest = [squared_distance(point, points[start]) for point in points]
    while len(picked) < num_samples:
        farthest = max(range(len(points)), key=lambda i: nearest[i])
        picked.append(farthest)
        nearest = [
            min(old, squared_distance(point, points[farthest]))
            for old, point in zip(nearest, points)
        ]
    return picked


def slow_knn(query: np.ndarray, points: np.ndarray, k: int) -> list[int]:
    """Sort everything by (distance, index)."""
    order = sorted((squared_distance(point, query), i) for i, point in enumerate(points))
    return [i for _, i in order[:k]]


@pytest.mark.parametrize("backend", BACKENDS)
@FEW
@given(xyz=clouds, share=st.floats(0, 1), seed=st.integers(0, 99))
def test_fps_equals_the_definition(backend, xyz, share, seed):
    batch_size, num_points, _ = xyz.shape
    num_samples = max(1, min(round(share * num_points), 12))
    start = torch.from_numpy(np.random.default_rng(seed).integers(0, num_points, batch_size))
    picked = farthest_point_sample(xyz, num_samples, start, backend=backend)
    assert picked.dtype == torch.long
    for row in range(batch_size):
        expected = slow_fps(xyz[row].numpy(), num_samples, int(start[row]))
        assert picked[row].tolist() == expected


@pytest.mark.parametrize("backend", BACKENDS)
@FEW
@given(xyz=clouds, share=st.floats(0, 1), own=st.booleans())
def test_knn_equals_the_definition(backend, xyz, share, own):
    k = max(1, round(share * xyz.shape[1]))
    query = xyz[:, :4] if own else make_clouds(1, xyz.shape[0], 3, "grid")
    found = knn(query, xyz, k, backend=backend)
    assert found.shape == (*query.shape[:2], k)
    for row in range(xyz.shape[0]):
        for column in range(query.shape[1]):
            expected = slow_knn(query[row, column].numpy(), xyz[row].numpy(), k)
            assert found[row, column].tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_points", [511, 512, 1500, 4097])  # 4097: sorted in two passes
def test_backends_return_the_same_indices(kind, num_points):
    xyz = make_clouds(num_points, 3, num_points, kind)
    first, second = (farthest_point_sample(xyz, 200, 5, backend=name) for name in BACKENDS)
    assert torch.equal(first, second)
    center = gather_points(xyz, first)
    assert torch.equal(*(knn(center, xyz, 33, backend=name) for name in BACKENDS))


def test_backends_agree_when_rounding_decides():
    # Coordinates far from the origin make many distances differ in the last bit only, where a
    # fused multiply-add or another summation order would give other winners.
    xyz = make_clouds(3, 2, 1200, "normal") * 1e-3 + 7.7
    assert torch.equal(*(farthest_point_sample(xyz, 400, backend=name) for name in BACKENDS))
    assert torch.equal(*(knn(xyz[:, :300], xyz, 16, backend=name) for name in BACKENDS))


def test_torch_knn_is_the_same_in_blocks(monkeypatch):
    from lavis.models.point_ops import reference

    xyz = make_clouds(5, 2, 90, "grid")
    whole = knn(xyz, xyz, 9, backend="torch")
    monkeypatch.setattr(reference, "_BLOCK_ELEMENTS", 400)
    assert torch.equal(knn(xyz, xyz, 9, backend="torch"), whole)


def test_knn_finds_float64_neighbours():
    xyz = make_clouds(8, 1, 2000, "normal")
    truth = torch.cdist(xyz[:, :50].double(), xyz.double()).topk(16, largest=False).indices
    found = knn(xyz[:, :50], xyz, 16)
    assert torch.equal(found.sort(-1).values, truth.sort(-1).values)


@pytest.mark.parametrize("backend", BACKENDS)
def test_fewer_distinct_points_than_samples_repeats_point_zero(backend):
    xyz = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]]])
    assert farthest_point_sample(xyz, 4, 1, backend=backend).tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_thread_count_does_not_change_indices(threads):
    before = torch.get_num_threads()
    xyz = make_clouds(2, 5, 300, "grid")
    expected = farthest_point_sample(xyz, 40, backend="torch")
    try:
        torch.set_num_threads(threads)
        assert torch.equal(farthest_point_sample(xyz, 40), expected)
        assert torch.equal(knn(xyz, xyz, 5), knn(xyz, xyz, 5, backend="torch"))
    finally:
        torch.set_num_threads(before)


def _sample_in_child(queue) -> None:
    """Run both kernels in a forked process and send the indices back."""
    xyz = make_clouds(4, 4, 200, "normal")
    picked = farthest_point_sample(xyz, 16)
    queue.put((picked.tolist(), knn(gather_points(xyz, picked), xyz, 4).tolist()))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_kernels_survive_a_fork():
    xyz = make_clouds(4, 4, 200, "normal")
    picked = farthest_point_sample(xyz, 16)  # compiled and threaded in the parent first
    neighbors = knn(gather_points(xyz, picked), xyz, 4)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_sample_in_child, args=(queue,))
    child.start()
    result = queue.get(timeout=60)
    child.join(timeout=60)
    assert child.exitcode == 0
    assert result == (picked.tolist(), neighbors.tolist())


class _Sampled(torch.utils.data.Dataset):
    """Clouds whose samples are picked in a DataLoader worker."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        return farthest_point_sample(make_clouds(index, 1, 120, "normal"), 8)[0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_kernels_run_in_data_loader_workers():
    dataset = _Sampled()
    expected = torch.stack([dataset[i] for i in range(6)])
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, num_workers=2)
    assert torch.equal(torch.cat(list(loader)), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_double_and_strided_inputs(backend):
    xyz = make_clouds(6, 2, 130, "normal").half()
    wide = torch.randn(2, 130, 6)
    wide[..., :3] = xyz
    expected = farthest_point_sample(xyz.float(), 20, backend="torch")
    transposed = xyz.float().transpose(1, 2).contiguous().transpose(1, 2)
    for view in (xyz, xyz.double(), wide[..., :3], transposed):
        assert torch.equal(farthest_point_sample(view, 20, backend=backend), expected)
        neighbors = knn(view[:, ::7], view, 5, backend=backend)
        assert torch.equal(neighbors, knn(xyz[:, ::7].float(), xyz.float(), 5, backend="torch"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_that_require_gradients_are_accepted(backend):
    xyz = make_clouds(6, 1, 30, "normal").requires_grad_()
    picked = farthest_point_sample(xyz, 4, backend=backend)
    gather_points(xyz, picked).sum().backward()
    assert int((xyz.grad != 0).any(-1).sum()) == 4
    assert knn(xyz, xyz, 2, backend=backend).shape == (1, 30, 2)


@FEW
@given(seed=st.integers(0, 999), channels=st.integers(1, 7), dims=st.integers(1, 3))
def test_gather_reads_rows(seed, channels, dims):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 9, channels, generator=generator)
    index = torch.randint(9, (2, *range(2, 2 + dims)), generator=generator)
    gathered = gather_points(features, index)
    for position in np.ndindex(*index.shape):
        assert torch.equal(gathered[position], features[position[0], index[position]])


def test_group_points_centres_xyz_and_keeps_colour():
    points = torch.rand(2, 20, 6)
    index = torch.randint(20, (2, 4, 5))
    center = torch.rand(2, 4, 3)
    groups = group_points(points, index, center)
    for b, g, s in np.ndindex(2, 4, 5):
        row = points[b, index[b, g, s]]
        assert torch.equal(groups[b, g, s, :3], row[:3] - center[b, g])
        assert torch.equal(groups[b, g, s, 3:], row[3:])
    assert torch.equal(group_points(points, index), gather_points(points, index))
    with pytest.raises(ShapeError, match="center does not fit"):
        group_points(points, index, center[:, :3])


def _bad(name: str) -> torch.Tensor:
    xyz = torch.rand(2, 10, 3)
    if name == "nan":
        xyz[1, 3, 2] = float("nan")
    if name == "infinity":
        xyz[0, 0, 0] = float("inf")
    shapes = {"rank": (10, 3), "width": (2, 10, 4), "batch": (0, 10, 3), "points": (2, 0, 3)}
    if name in shapes:
        xyz = torch.rand(shapes[name])
    return xyz.long() if name == "integer" else xyz


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["nan", "infinity", "rank", "width", "batch", "points", "integer"])
def test_bad_clouds_are_refused(backend, name):
    with pytest.raises(ShapeError, match="expected"):
        farthest_point_sample(_bad(name), 1, backend=backend)
    with pytest.raises(ShapeError, match="expected"):
        knn(torch.rand(2, 3, 3), _bad(name), 1, backend=backend)
    with pytest.raises(ShapeError, match="expected"):
        knn(_bad(name), torch.rand(2, 3, 3), 1, backend=backend)


def test_the_row_with_nan_is_named():
    with pytest.raises(ShapeError, match=r"batch rows \[1\]"):
        farthest_point_sample(_bad("nan"), 2)


@pytest.mark.parametrize("count", [0, -1, 11, 2.0, True])
def test_counts_outside_the_cloud_are_refused(count):
    xyz = torch.rand(2, 10, 3)
    with pytest.raises(ShapeError, match="between 1 and 10"):
        farthest_point_sample(xyz, count)
    with pytest.raises(ShapeError, match="between 1 and 10"):
        knn(xyz, xyz, count)


@pytest.mark.parametrize(
    "start", [-1, 10, torch.tensor([0, 10]), torch.tensor([0]), torch.tensor([0.0, 1.0])]
)
def test_starts_outside_the_cloud_are_refused(start):
    with pytest.raises(ShapeError, match="start_index"):
        farthest_point_sample(torch.rand(2, 10, 3), 2, start)


def test_bad_indices_are_refused():
    features = torch.rand(2, 10, 3)
    for index in (torch.full((2, 3), 10), torch.full((2, 3), -1), torch.zeros(3, 4).long()):
        with pytest.raises(ShapeError, match="index"):
            gather_points(features, index)
    with pytest.raises(ShapeError, match="int64"):
        gather_points(features, torch.zeros(2, 3))


def test_batches_that_differ_are_refused():
    with pytest.raises(ShapeError, match="same batch size"):
        knn(torch.rand(1, 4, 3), torch.rand(2, 10, 3), 2)


def test_back_end_names():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert resolve_backend("auto", cpu) == "numba"
    assert resolve_backend("auto", cuda) == ("triton" if has_triton() else "torch")
    assert resolve_backend("auto", torch.device("mps")) == "torch"
    assert resolve_backend("torch", cpu) == "torch"
    with pytest.raises(ConfigError, match="Did you mean 'numba'"):
        resolve_backend("nunba", cpu)
    with pytest.raises(ConfigError, match="CPU"):
        resolve_backend("numba", cuda)
