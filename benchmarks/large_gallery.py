"""Retrieval with re-ranking on a simulated gallery of Objaverse-LVIS' size: memory and time.

    python -m benchmarks.large_gallery                          # 46,000 objects of PointBLIP
    python -m benchmarks.large_gallery --quick                  # 2000 objects, under two minutes

The scoring code is that of the task `point_retrieval` (embedding, gathering, candidates, matching,
ranks both ways, the curve of weights). Only the model is made up: its embeddings and tokens are
drawn from the object's number, so the loader can be read twice, and matching multiplies the mean
token with a vector of the text. `tokens_gigabytes` is what gathering all tokens would hold, and
`matrix_gigabytes` one N x N matrix of float32.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

from benchmarks.record import Record, parse_options
from lavis.common.launch import keep_freed_memory
from lavis.models.abilities import JointEmbedder, Reranker
from lavis.tasks.point_retrieval import PointRetrievalTask, rank_pairs

BATCH = 32


class MadeUpReranker:
    """Embeds object n near text n; its tokens are n everywhere."""

    abilities = (JointEmbedder, Reranker)
    modalities = ("point", "text")
    device = torch.device("cpu")

    def __init__(self, queries: int, width: int, tokens: int, token_width: int) -> None:
        self.queries, self.width, self.tokens = queries, width, (tokens, token_width)

    def embed_texts(self, texts: list[str]) -> Tensor:
        """Return unit embeddings [B,E]."""
        draws = [
            torch.randn(self.width, generator=torch.Generator().manual_seed(int(text.split()[-1])))
            for text in texts
        ]
        return F.normalize(torch.stack(draws), dim=-1)

    def embed_for_matching(self, samples: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return embeddings [B,Q,E] and tokens [B,G,D]."""
        own = self.embed_texts(samples["text_input"])[:, None]
        generator = torch.Generator().manual_seed(len(own))
        noise = torch.randn(len(own), self.queries, self.width, generator=generator)
        numbers = torch.tensor([float(text.split()[-1]) for text in samples["text_input"]])
        tokens = numbers[:, None, None].repeat(1, *self.tokens)
        return F.normalize(own + 0.05 * noise, dim=-1), tokens

    def match_scores(self, point_tokens: Tensor, texts: list[str]) -> Tensor:
        """Return log-odds [M]: 1 for an object's own text, else 0."""
        numbers = torch.tensor([float(text.split()[-1]) for text in texts])
        return (point_tokens[:, -1, -1] == numbers).float()

    def temperature(self) -> Tensor:
        """Return BLIP-2's start."""
        return torch.tensor(0.07)


class Objects:
    """Batches of numbered objects, which can be read again."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for begin in range(0, self.size, BATCH):
            numbers = range(begin, min(begin + BATCH, self.size))
            yield {
                "instance_id": [f"{n:06d}" for n in numbers],
                "text_input": [f"object {n}" for n in numbers],
            }

    def __len__(self) -> int:
        return -(-self.size // BATCH)


def peak_gigabytes() -> float:
    """Return the peak of this process' resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(given: argparse.Namespace, record: Record) -> dict[str, Any]:
    """Embed, match and rank a gallery; one row each for matching and ranking. Return the last."""
    model = MadeUpReranker(given.queries, given.width, given.tokens, given.token_width)
    task = PointRetrievalTask(OmegaConf.create({"k_test": given.k_test}))
    size = {
        "objects": given.objects,
        "peak_gigabytes_at_start": round(peak_gigabytes(), 2),
        "tokens_gigabytes": round(given.objects * given.tokens * given.token_width * 4 / 2**30, 2),
        "matrix_gigabytes": round(given.objects**2 * 4 / 2**30, 2),
    }

    def row(part: str, begin: float) -> dict[str, Any]:
        seconds, peak = time.perf_counter() - begin, peak_gigabytes()
        return {"part": part, **size, "peak_gigabytes": round(peak, 2), "seconds": round(seconds)}

    begin = time.perf_counter()
    task.evaluation(model, Objects(given.objects))
    record.add(row("embed and match", begin))
    begin = time.perf_counter()
    results, _ = rank_pairs(task.pairs, [[row] for row in range(given.objects)], 0.2)
    recalls = {name: found.values["recall_at_1"] for name, found in results.items()}
    return record.add(row("rank", begin) | {"recall_at_1": recalls})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=46_000)
    parser.add_argument("--queries", type=int, default=32, help="embeddings per object")
    parser.add_argument("--width", type=int, default=256, help="of an embedding")
    parser.add_argument("--tokens", type=int, default=513, help="per object, for matching")
    parser.add_argument("--token-width", type=int, default=384)
    parser.add_argument("--k-test", type=int, default=8, help="candidates per side")
    given = parse_options(parser, "large_gallery", arguments, objects=2000)
    keep_freed_memory()  # as evaluate.py does
    record = Record("large_gallery", given)
    row = measure(given, record)
    keys = ("objects", "peak_gigabytes", "tokens_gigabytes", "matrix_gigabytes")
    equality = {"recall_at_1_of_own_text": 1.0 - row["recall_at_1"]["object_to_text"]}
    record.finish({key: row[key] for key in keys}, equality)


if __name__ == "__main__":
    main()
