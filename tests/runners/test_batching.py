"""Batch plans: neighbours that share a step."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lavis.common.errors import ConfigError
from lavis.runners.distribution import sync_batchnorm
from lavis.runners.loaders import MixedDataset
from lavis.runners.samplers import BatchGeometry, epoch_steps, gather_neighbours


class Annotated:
    """Two samples of each of 12 objects."""

    def __init__(self, prefix="a"):
        self.annotation = [
            {"instance_id": f"{prefix}{i // 2}", "object_id": f"{prefix}{i // 2}"}
            for i in range(24)
        ]

    def __len__(self):
        return len(self.annotation)


def pairs(size):
    """Index i and i ^ 1 are neighbours."""
    return {i: [i ^ 1] for i in range(size)}


def test_neighbours_share_a_step_and_every_sample_stays_once():
    steps = epoch_steps([64], BatchGeometry(8), 0, 0, neighbours=pairs(64))
    assert sorted(np.concatenate(steps)) == list(range(64))
    for step in steps:
        assert {i ^ 1 for i in step.tolist()} == set(step.tolist())
    plain = epoch_steps([64], BatchGeometry(8), 0, 0)
    together = [len({i ^ 1 for i in step.tolist()} & set(step.tolist())) for step in plain]
    assert sum(together) < 32


def test_the_plan_depends_on_seed_and_epoch_alone():
    def plan(geometry, epoch):
        steps = epoch_steps([64], geometry, 5, epoch, neighbours=pairs(64))
        return [step.tolist() for step in steps]

    assert plan(BatchGeometry(8), 1) == plan(BatchGeometry(2, world_size=2, accum=2), 1)
    assert plan(BatchGeometry(8), 1) != plan(BatchGeometry(8), 2)


def test_neighbours_without_room_become_seeds_later():
    order = gather_neighbours(np.arange(6), {0: [5, 4, 3], 1: []}, 3)
    assert order.tolist() == [0, 5, 4, 1, 2, 3]


def test_lists_by_id_reach_every_sample_of_an_object():
    data = MixedDataset([Annotated("a"), Annotated("b")])
    found = data.neighbours({"b1": ["b3", "a1", "unknown"], "zz": ["b1"]})
    assert found == {26: [30, 31], 27: [30, 31]}
    with pytest.raises(ConfigError, match=r"run\.batch_plan"):
        data.neighbours({"zz": ["b1"]})


def test_samples_of_one_object_are_siblings():
    found = MixedDataset([Annotated("a"), Annotated("b")]).siblings()
    assert found[2] == found[3] == [2, 3]
    assert found[26] == [26, 27]
    steps = epoch_steps([24, 24], BatchGeometry(8), 0, 0, neighbours=found)
    for step in steps:
        assert {i ^ 1 for i in step.tolist()} == set(step.tolist())


def test_objects_of_one_sample_each_have_no_siblings():
    data = Annotated()
    data.annotation = data.annotation[::2]
    with pytest.raises(ConfigError, match=r"same_object"):
        MixedDataset([data]).siblings()


def with_annotation(tiny, size=22):
    data = tiny.Data(size)
    data.annotation = [{"instance_id": f"0-{i}", "object_id": f"{i // 2}"} for i in range(size)]
    return data


@pytest.mark.parametrize("plan", ["near.json", "same_object"])
def test_a_run_with_a_plan_resumes_exactly(tiny, plan):
    if plan == "near.json":
        path = tiny.path / plan
        path.write_text(json.dumps({f"0-{i}": [f"0-{i ^ 1}"] for i in range(22)}))
        plan = str(path)
    options = {"batch_plan": plan, "save_freq": 1, "lr_sched": "constant_lr"}

    def make(job, **more):
        runner = tiny.runner(job, **options, **more)
        runner.parts.datasets["data0"]["train"] = with_annotation(tiny)
        return runner

    whole = make("whole")
    whole.train()
    for ids in whole.parts.task.trained_ids:
        assert {f"0-{int(name[2:]) ^ 1}" for name in ids} == set(ids)
    make("cut", max_steps=7).train()
    rest = make("rest", resume_ckpt_path=str(tiny.path / "cut/checkpoint_last.pth"))
    rest.train()
    assert rest.parts.task.trained_ids == whole.parts.task.trained_ids[7:]
    assert torch.equal(whole.parts.module.head.weight, rest.parts.module.head.weight)


@pytest.mark.parametrize("content", ["[1]", "{", '{"a": 1}'])
def test_a_file_that_holds_no_lists_is_refused(tiny, content):
    path = tiny.path / "near.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"run\.batch_plan"):
        tiny.runner(batch_plan=str(path)).train()


def test_a_plan_and_length_buckets_exclude_each_other(tiny):
    with pytest.raises(ConfigError, match=r"run\.batch_plan"):
        tiny.runner(batch_plan="near.json", length_buckets=4).train()


def test_sync_batchnorm_is_refused_on_a_cpu():
    with pytest.raises(ConfigError, match=r"run\.sync_batchnorm"):
        sync_batchnorm(torch.nn.BatchNorm1d(2), torch.device("cpu"))
