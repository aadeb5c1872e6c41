"""One rank of test_reranking.py: retrieves a split and writes what rank 0 scored.

Started as `python -m torch.distributed.run --nproc_per_node=N retrieval_worker.py FOLDER`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from omegaconf import OmegaConf
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lavis.common.dist_utils import get_rank, get_world_size, init_distributed_mode, leave
from lavis.models.abilities import JointEmbedder, Reranker
from lavis.runners.samplers import EvalShard
from lavis.tasks.modality_retrieval import ModalityRetrievalTask
from lavis.tasks.point_retrieval import PointRetrievalTask

SIZES = (1, 5, 14)


class Matcher:
    """Draws embeddings by the item's number; matching knows the pairs."""

    abilities = (JointEmbedder, Reranker)
    modalities = ("point", "text")
    device = torch.device("cpu")

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.points = F.normalize(torch.randn(20, 3, 6, generator=generator), dim=-1)
        self.texts = F.normalize(torch.randn(20, 6, generator=generator), dim=-1)

    def embed(self, samples, modality):
        numbers = [int(i[1:]) for i in samples["instance_id"]]
        return self.points[numbers] if modality == "point" else self.texts[numbers]

    def embed_texts(self, texts):
        return self.texts[[int(text.split()[-1]) for text in texts]]

    def embed_for_matching(self, samples):
        numbers = torch.tensor([int(i[1:]) for i in samples["instance_id"]])
        return self.points[numbers], numbers[:, None, None].float()

    def match_scores(self, point_tokens, texts):
        numbers = torch.tensor([int(text.split()[-1]) for text in texts])
        return (point_tokens[:, 0, 0] == numbers).float() * 8

    def temperature(self):
        return torch.tensor(0.5)


class Items:
    def __init__(self, size):
        self.annotation = [
            {"instance_id": f"i{k}", "caption": f"item {k}"} for k in reversed(range(size))
        ]

    def __len__(self):
        return len(self.annotation)

    def __getitem__(self, index):
        return self.annotation[index]

    def train_annotation(self):
        return []

    def collater(self, rows):
        batch = {"point_cloud": torch.zeros(len(rows), 1, 3)}
        batch["instance_id"] = [row["instance_id"] for row in rows]
        return batch | {"text_input": [row["caption"] for row in rows]}


def evaluate(folder, task, size):
    """Score one split on all ranks."""
    dataset = Items(size)
    shard = EvalShard(size, get_rank(), get_world_size())
    loader = DataLoader(dataset, 2, sampler=shard, collate_fn=dataset.collater)
    model = Matcher()
    runner = SimpleNamespace(
        result_dir=folder,
        evaluate_only=True,
        evaluated_checkpoint=None,
        unwrapped_model=SimpleNamespace(loaded_checkpoint=None),
        config=SimpleNamespace(to_dict=dict),
    )
    task.before_evaluation(model, dataset)
    records = task.evaluation(model, loader)
    split = f"{task.name}_{size}"
    return task.after_evaluation(records, split, "best", dataset, model, runner)


def main():
    folder = Path(sys.argv[1])
    init_distributed_mode(OmegaConf.create({"device": "cpu", "dist_backend": "gloo"}))
    run = OmegaConf.create({"seed": 0, "k_test": 3})
    tasks = [PointRetrievalTask(run), ModalityRetrievalTask(run)]
    found = {f"{t.name}/{n}": evaluate(folder, t, n) for t in tasks for n in SIZES}
    (folder / f"rank{get_rank()}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main()
