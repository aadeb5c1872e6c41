"""Clouds of different sizes in one batch: each is searched as if it were alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lavis.common.errors import ShapeError
from lavis.models.point_ops import (
    ball_query,
    chamfer_distance,
    farthest_point_sample,
    knn,
    three_nearest,
)

BACKENDS = ["torch", "numba"]
VARYING = settings(max_examples=15, deadline=None)
SIZES = st.lists(st.integers(4, 90), min_size=1, max_size=3)


def _search(xyz, backend, **kwargs):
    """Every operator's indices for up to four samples, neighbours and queries."""
    query = torch.linspace(-1, 1, 12).reshape(1, 4, 3).expand(len(xyz), -1, -1)
    return [
        farthest_point_sample(xyz, 4, backend=backend, **kwargs),
        knn(query, xyz, 4, backend, **kwargs),
        ball_query(query, xyz, 0.8, 4, backend, **kwargs),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
@VARYING
@given(seed=st.integers(0, 999), sizes=SIZES)
def test_lengths_equal_clouds_on_their_own(tied_clouds, backend, seed, sizes):
    xyz = tied_clouds(seed, len(sizes), max(sizes))
    for row, size in enumerate(sizes):
        xyz[row, size:] = float("nan")  # padding is never looked at
    together = _search(xyz, backend, lengths=torch.tensor(sizes))
    for row, size in enumerate(sizes):
        alone = _search(xyz[row : row + 1, :size], backend)
        assert all(torch.equal(a[row], b[0]) for a, b in zip(together, alone))


@pytest.mark.parametrize("backend", BACKENDS)
@VARYING
@given(seed=st.integers(0, 999), sizes=SIZES)
def test_mask_equals_the_valid_points_on_their_own(tied_clouds, backend, seed, sizes):
    num_points = max(sizes) + 5
    xyz = tied_clouds(seed, len(sizes), num_points)
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.randperm(num_points, generator=generator)[:size] for size in sizes]
    mask = torch.zeros(len(sizes), num_points, dtype=torch.bool)
    for row, places in enumerate(chosen):
        mask[row, places] = True
    xyz[~mask] = float("inf")
    together = _search(xyz, backend, mask=mask) if mask[:, 0].all() else None
    if together is None:  # point 0, the default start, has to count
        with pytest.raises(ShapeError, match="start_index"):
            farthest_point_sample(xyz, 1, backend=backend, mask=mask)
        return
    for row, places in enumerate(chosen):
        kept = places.sort().values
        alone = _search(xyz[row : row + 1, kept], backend)
        assert all(torch.equal(a[row], kept[b[0]]) for a, b in zip(together, alone))


def test_a_generator_draws_valid_starts_and_repeats_them():
    xyz = torch.rand(6, 50, 3)
    lengths = torch.tensor([1, 2, 3, 10, 40, 50])
    picks = [
        farthest_point_sample(xyz, 1, torch.Generator().manual_seed(seed), lengths=lengths)[:, 0]
        for seed in (3, 3, 4)
    ]
    assert torch.equal(picks[0], picks[1])
    assert not torch.equal(picks[0], picks[2])
    assert bool((picks[0] < lengths).all())
    mask = torch.rand(6, 50, generator=torch.Generator().manual_seed(0)) < 0.3
    masked = farthest_point_sample(xyz, 1, torch.Generator().manual_seed(3), mask=mask)
    assert bool(mask.gather(1, masked).all())


def test_a_start_is_an_index_of_the_whole_cloud():
    xyz = torch.rand(2, 6, 3)
    mask = torch.tensor([[0, 0, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1]], dtype=torch.bool)
    start = torch.tensor([4, 1])
    assert farthest_point_sample(xyz, 2, start, mask=mask)[:, 0].tolist() == [4, 1]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"lengths": torch.tensor([3])},
        {"lengths": torch.tensor([3, 0])},
        {"lengths": torch.tensor([3, 11])},
        {"lengths": torch.tensor([3.0, 4.0])},
        {"mask": torch.ones(2, 9, dtype=torch.bool)},
        {"mask": torch.ones(2, 10)},
        {"mask": torch.arange(20).reshape(2, 10) < 10},
        {"lengths": torch.tensor([3, 4]), "mask": torch.ones(2, 10, dtype=torch.bool)},
    ],
)
def test_lengths_and_masks_that_do_not_fit_are_refused(kwargs):
    with pytest.raises(ShapeError, match="expected"):
        farthest_point_sample(torch.rand(2, 10, 3), 2, **kwargs)


def test_more_samples_than_the_smallest_cloud_are_refused():
    xyz, lengths = torch.rand(2, 10, 3), torch.tensor([10, 4])
    with pytest.raises(ShapeError, match="between 1 and 4"):
        farthest_point_sample(xyz, 5, lengths=lengths)
    with pytest.raises(ShapeError, match="between 1 and 4"):
        knn(xyz, xyz, 5, lengths=lengths)


def test_valid_points_must_be_finite_in_float32():
    xyz = torch.rand(1, 5, 3)
    xyz[0, 2] = float("nan")
    with pytest.raises(ShapeError, match="NaN"):
        farthest_point_sample(xyz, 2, lengths=torch.tensor([3]))
    with pytest.raises(ShapeError, match="infinity"):
        farthest_point_sample(torch.full((1, 4, 3), 1e300, dtype=torch.float64), 2)


def test_three_nearest_of_two_points_gives_two():
    index, weight = three_nearest(
        torch.rand(1, 4, 3), torch.rand(1, 5, 3), lengths=torch.tensor([2])
    )
    assert index.shape == weight.shape == (1, 4, 2)
    assert int(index.max()) < 2


class _LargestTensor(TorchDispatchMode):
    """Remembers how many elements the largest tensor had that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_tensor_of_all_pairs_is_made(backend, monkeypatch):
    from lavis.models.point_ops import reference

    monkeypatch.setattr(reference, "_BLOCK_ELEMENTS", 1 << 14)
    xyz = torch.rand(2, 600, 3)
    with _LargestTensor() as largest:
        knn(xyz, xyz, 4, backend)
        ball_query(xyz, xyz, 0.1, 4, backend)
        three_nearest(xyz, xyz, backend)
        chamfer_distance(xyz, xyz.flip(1), backend=backend)
    assert 0 < largest.elements <= 1 << 15  # all pairs: 720,000
