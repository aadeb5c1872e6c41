"""Two gloo processes against one, started as users start them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("ddp_worker.py")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reports(tmp_path_factory, launch_ranks):
    """Return (single process' report, [report of rank 0, of rank 1])."""
    single = launch_ranks(WORKER, tmp_path_factory.mktemp("one"), 1)[0]
    return single, launch_ranks(WORKER, tmp_path_factory.mktemp("two"), 2)


def assert_close(first, second, atol=1e-6):
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=0, atol=atol)


@pytest.mark.slow
def test_two_processes_train_to_the_weights_of_one(reports):
    single, ranks = reports
    for rank in ranks:
        assert_close(rank["weights"], single["weights"])
        assert_close(rank["accumulated"], single["weights"])


@pytest.mark.slow
def test_ranks_share_each_step_of_the_single_process(reports):
    single, (first, second) = reports
    steps = zip(first["trained_ids"], second["trained_ids"], strict=True)
    assert [sorted(a + b) for a, b in steps] == [sorted(ids) for ids in single["trained_ids"]]


@pytest.mark.slow
def test_each_item_is_scored_once_and_every_rank_has_the_metrics(reports):
    single, ranks = reports
    for rank in ranks:
        assert sorted(rank["scored_ids"]) == sorted(single["scored_ids"])
        assert len(set(rank["scored_ids"])) == rank["metrics"]["test"]["n_scored"] == 5
        difference = (
            rank["metrics"]["test"]["agg_metrics"] - single["metrics"]["test"]["agg_metrics"]
        )
        assert abs(difference) < 1e-6


@pytest.mark.slow
def test_resume_with_dropout_on_two_ranks_is_bit_exact(reports):
    for rank in reports[1]:
        assert rank["resumed"] == rank["whole"]


@pytest.mark.slow
def test_a_bad_loss_on_one_rank_stops_all_and_names_its_samples(reports):
    first, second = reports[1]
    assert first["poisoned"] == second["poisoned"]
    assert all(name in first["poisoned"] for name in second["poisoned_ids"])
    assert not any(name in first["poisoned"] for name in first["poisoned_ids"])
