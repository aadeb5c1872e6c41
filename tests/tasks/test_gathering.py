"""Records of several ranks are gathered by id exactly once, for any size and batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lavis.tasks.gallery import Share, gather_gallery

WORKER = Path(__file__).with_name("gather_worker.py")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_three_ranks_score_every_item_once_beside_stale_files(tmp_path, launch_ranks):
    for rank in range(3):  # what a run with shared files would have left behind
        (tmp_path / f"n5_b2_rank{rank}.json").write_text('[{"instance_id": "stale"}]')
    (tmp_path / "n5_b2.json").write_text("[]")
    found = launch_ranks(WORKER, tmp_path, 3)
    expected = {
        f"{n}/{b}": sum(k * k for k in range(n)) / n
        for n in (1, 2, 3, 4, 5, 8, 13, 33)
        for b in (1, 2, 3, 5)
    }
    for report in found:  # more ranks than items included
        assert report == pytest.approx(expected)
    written = json.loads((tmp_path / "n5_b2.json").read_text())
    assert sorted(entry["instance_id"] for entry in written) == [f"i{k}" for k in range(5)]
    record = json.loads((tmp_path / "n33_b5_metrics.json").read_text())
    assert record["n_expected"] == record["n_scored"] == 33


def test_one_process_sorts_its_share_in_place_without_a_second_copy():
    names = [f"{k:02d}" for k in torch.randperm(11, generator=torch.Generator().manual_seed(0))]
    share = Share(batches=3)
    for begin in range(0, 11, 4):
        own = names[begin : begin + 4]
        numbers = torch.tensor([float(name) for name in own])
        embeds = {"point": numbers[:, None, None].repeat(1, 3, 2), "text": numbers[:, None]}
        share.add({"instance_id": own, "text_input": [f"brick {name}" for name in own]}, embeds)
    memory = share.embeds["point"].data_ptr()
    gallery = gather_gallery(share, ("point", "text"))
    assert gallery.embeds["point"].data_ptr() == memory
    assert gallery.ids == sorted(names)
    assert gallery.texts == [f"brick {name}" for name in sorted(names)]
    rows = torch.arange(11.0)
    assert torch.equal(gallery.embeds["point"], rows[:, None, None].repeat(1, 3, 2))
    assert torch.equal(gallery.embeds["text"], rows[:, None])
