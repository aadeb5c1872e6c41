"""Order and shards: each sample once, the same steps for any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lavis.common.errors import ConfigError
from lavis.runners.loaders import MixedDataset, TrainLoader
from lavis.runners.samplers import BatchGeometry, EvalShard, TrainBatches, epoch_steps


@given(size=st.integers(0, 50), world_size=st.integers(1, 7))
def test_evaluation_shards_hold_each_index_once(size, world_size):
    shards = [list(EvalShard(size, rank, world_size)) for rank in range(world_size)]
    assert sorted(index for shard in shards for index in shard) == list(range(size))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert [len(EvalShard(size, rank, world_size)) for rank in range(world_size)] == list(
        map(len, shards)
    )


@given(
    sizes=st.lists(st.integers(8, 60), min_size=1, max_size=3),
    epoch=st.integers(0, 4),
    geometry=st.sampled_from([(8, 1, 1), (4, 2, 1), (2, 4, 1), (4, 1, 2), (2, 2, 2), (1, 1, 8)]),
)
def test_full_steps_are_the_same_for_any_geometry(sizes, epoch, geometry):
    reference = epoch_steps(sizes, BatchGeometry(8), 5, epoch)
    steps = epoch_steps(sizes, BatchGeometry(*geometry), 5, epoch)
    if len(sizes) == 1:  # of several, the mixture shifts where a last partial step is kept or not
        for ours, theirs in zip(steps, reference):
            assert ours.tolist() == theirs.tolist()
    full = sorted(sorted(step.tolist()) for step in steps if len(step) == 8)
    assert full == sorted(sorted(step.tolist()) for step in reference)


@given(size=st.integers(8, 60), start=st.integers(0, 3))
def test_ranks_share_a_step_and_none_is_repeated(size, start):
    geometry = BatchGeometry(2, world_size=2, accum=2)
    steps = epoch_steps([size], geometry, 0, 0)
    ranks = [TrainBatches(steps, geometry, rank, start) for rank in (0, 1)]
    seen = [index for rank in ranks for batch in rank for index in batch]
    assert sorted(seen) == sorted(np.concatenate([*steps[start:], np.empty(0, int)]).tolist())
    assert len(set(seen)) == len(seen)
    assert [len(rank) for rank in ranks] == [len(list(rank)) for rank in ranks]


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        return np.concatenate(epoch_steps([40], BatchGeometry(4), seed, epoch)).tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_steps_come_from_one_data_set_and_are_mixed():
    steps = epoch_steps([40, 40], BatchGeometry(4), 0, 0)
    origin = [{int(index) // 40 for index in step} for step in steps]
    assert all(len(members) == 1 for members in origin)
    flat = [members.pop() for members in origin]
    assert flat.count(0) == flat.count(1) == 10
    assert flat != sorted(flat)


def test_a_data_set_below_one_batch_is_refused():
    with pytest.raises(ConfigError, match="smaller than one batch"):
        epoch_steps([7], BatchGeometry(4, world_size=2), 0, 0)


def test_mixed_data_set_collates_with_the_member_of_the_batch():
    class Member(list):
        def collater(self, samples):
            return (self[0], samples)

    mixed = MixedDataset([Member([10, 11]), Member([20, 21, 22])])
    assert [mixed[index] for index in range(len(mixed))] == [10, 11, 20, 21, 22]
    assert mixed.collater(mixed.__getitems__([4, 2])) == (20, [22, 20])


def test_train_loader_does_not_touch_the_global_generator(tiny):
    import torch

    loader = TrainLoader([tiny.Data(20)], BatchGeometry(4), seed=1)
    before = torch.get_rng_state()
    batches, counts = loader.epoch(2, start_step=1)
    assert len(list(batches)) == sum(counts) == 4
    assert torch.equal(before, torch.get_rng_state())
    assert loader.dataset.members[0].epoch_seen == 2


def test_repeats_pass_several_times_through_one_data_set():
    steps = epoch_steps([8, 6], BatchGeometry(2), seed=0, epoch=0, repeats=[3, 1])
    counts = np.bincount(np.concatenate(steps), minlength=14)
    assert counts.tolist() == [3] * 8 + [1] * 6
    assert all(len({index < 8 for index in step.tolist()}) == 1 for step in steps)
