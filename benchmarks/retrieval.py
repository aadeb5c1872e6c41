"""Retrieval: blocked search beside LAVIS' per-object loop, int8 codes, and a gallery of 1M objects.

    python -m benchmarks.retrieval                             # all parts
    python -m benchmarks.retrieval --quick                     # 2000 objects, under two minutes

Times are CPU seconds of this process, with one thread by default, so that other work on the machine
does not decide.

blocked  All texts against a slice of the objects: LAVIS multiplies object by object and takes the
         maximum over its 32 tokens. Both sides are interleaved; the full 20k x 20k matrix would
         take minutes and changes neither ratio nor result. `gemm_share` is the time of the products
         alone, measured in the same round, as a share of our time (1: as fast as the machine can).
int8     Top 100 of the gallery by codes and exact rescoring, beside the loop that ranks the whole
         matrix: seconds of both, and the share of the exact top 100 that is found.
large    `--large` objects made from `--objects` ones by permuting the columns of all tokens: every
         object is different and its exact embedding is computed when it is asked for. Codes lie in
         one memory-mapped file; the peak of resident memory counts the mapped pages, too.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# One thread for torch and for numpy's BLAS, which counts its waiting as work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.record import Record, parse_options
from lavis.evaluation.search import (
    QuantizedGallery,
    int8_codes,
    max_similarity,
    quantize,
    search,
    two_stage_search,
)

TOKENS, WIDTH = 32, 256


def made_up_embeddings(objects: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit text embeddings [N,E] and query-token embeddings [N,Q,E], one token near its text."""
    generator = np.random.default_rng(seed)
    tokens = generator.standard_normal((objects, TOKENS, WIDTH), dtype=np.float32)
    tokens /= np.linalg.norm(tokens, axis=-1, keepdims=True)
    texts = tokens[:, 0] + 0.08 * generator.standard_normal((objects, WIDTH), dtype=np.float32)
    return texts / np.linalg.norm(texts, axis=-1, keepdims=True), tokens


def lavis_loop(tokens: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Scores [n,N] as salesforce-lavis computes them: one product and one maximum per object."""
    all_texts = torch.from_numpy(texts)
    rows = []
    for object_tokens in torch.from_numpy(tokens):
        products = object_tokens @ all_texts.t()  # [Q,N]
        rows.append(products.max(0)[0])
    return torch.stack(rows).numpy()


def product_seconds(tokens: np.ndarray, texts: np.ndarray) -> float:
    """CPU seconds that the products of a search take in the largest blocks, without maxima."""
    flat, transposed = torch.from_numpy(tokens).flatten(0, 1), torch.from_numpy(texts).t()
    rows = 2048
    out = torch.empty(rows, len(texts))
    torch.mm(flat[:rows], transposed, out=out[: len(flat[:rows])])  # pages of `out` exist by now
    begin = time.process_time()
    for block in flat.split(rows):
        torch.mm(block, transposed, out=out[: len(block)])
    return time.process_time() - begin


def compare_blocked(
    texts: np.ndarray, tokens: np.ndarray, timed_objects: int, rounds: int
) -> tuple[dict[str, Any], float]:
    """CPU seconds of both sides over the same objects, and the largest difference of scores."""
    part, seconds, products, difference = tokens[:timed_objects], [], [], 0.0
    max_similarity(part[:32], texts)  # both libraries warm
    lavis_loop(part[:8], texts)
    for _ in tqdm(range(rounds), desc="blocked"):
        begin = time.process_time()
        ours = max_similarity(part, texts)
        middle = time.process_time()
        usual = lavis_loop(part, texts)
        seconds.append((middle - begin, time.process_time() - middle))
        products.append(product_seconds(part, texts))
        difference = max(difference, float(np.abs(ours - usual).max()))
    ratios = [b / a for a, b in seconds]
    return {
        "part": "blocked",
        "texts": len(texts),
        "timed_objects": timed_objects,
        "seconds_ours": [round(a, 3) for a, _ in seconds],
        "seconds_lavis_loop": [round(b, 3) for _, b in seconds],
        "speedup_median": round(float(np.median(ratios)), 2),
        "speedup_worst": round(min(ratios), 2),
        "seconds_products": [round(value, 3) for value in products],
        "gemm_share": round(
            float(np.median([p / a for p, (a, _) in zip(products, seconds, strict=True)])), 3
        ),
    }, difference


def overlap(found: np.ndarray, exact: np.ndarray) -> float:
    """Share of the exact results that were found."""
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, exact))
    return hits / exact.size


def lavis_search(queries: np.ndarray, tokens: np.ndarray, k: int) -> np.ndarray:
    """Best k objects [Nq,k] of every query by the whole matrix, as LAVIS ranks them."""
    scores = torch.from_numpy(lavis_loop(tokens, queries)).T
    return scores.topk(k, dim=1).indices.numpy()


def compare_int8(queries: np.ndarray, tokens: np.ndarray, k: int, rounds: int) -> dict[str, Any]:
    """Two-stage search beside LAVIS' loop over the same gallery in memory, and exact search."""
    codes = quantize(tokens)
    seconds = []
    for _ in tqdm(range(rounds), desc="int8"):
        begin = time.process_time()
        found = two_stage_search(queries, tokens, codes, k)
        middle = time.process_time()
        usual = lavis_search(queries, tokens, k)
        seconds.append((middle - begin, time.process_time() - middle))
    ratios = [b / a for a, b in seconds]
    begin = time.process_time()
    exact = search(queries, tokens, k)
    return {
        "part": "int8",
        "objects": len(tokens),
        "queries": len(queries),
        f"recall_at_{k}": overlap(found.indices, exact.indices),
        f"recall_at_{k}_of_lavis": overlap(found.indices, usual),
        "seconds_two_stage": [round(a, 2) for a, _ in seconds],
        "seconds_lavis_loop": [round(b, 2) for _, b in seconds],
        "seconds_exact": round(time.process_time() - begin, 2),
        "speedup_median": round(float(np.median(ratios)), 2),
        "speedup_worst": round(min(ratios), 2),
        "bytes_an_object": codes.codes[0].nbytes + codes.scales[0].nbytes,
        "bytes_an_object_exact": tokens[0].nbytes,
    }


class PermutedGallery:
    """Object i is object i % n of a small gallery with the columns of permutation i // n."""

    def __init__(self, tokens: np.ndarray, size: int, seed: int) -> None:
        self.tokens, self.size = tokens, size
        copies = -(-size // len(tokens))
        generator = np.random.default_rng(seed)
        self.columns = [
            np.arange(WIDTH),
            *(generator.permutation(WIDTH) for _ in range(copies - 1)),
        ]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.size, TOKENS, WIDTH

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, rows: Any) -> np.ndarray:
        index = np.arange(self.size)[rows]
        copies, own = np.divmod(index, len(self.tokens))
        result = np.empty((len(index), TOKENS, WIDTH), dtype=np.float32)
        for copy in np.unique(copies):
            of_copy = copies == copy
            result[of_copy] = self.tokens[own[of_copy]][:, :, self.columns[copy]]
        return result

    def write_codes(self, folder: Path) -> QuantizedGallery:
        """Codes of all objects: columns of codes move with the columns of embeddings."""
        small, small_scales = int8_codes(self.tokens)
        codes = np.lib.format.open_memmap(
            folder / "codes.npy", mode="w+", dtype=np.int8, shape=self.shape
        )
        scales = np.empty(self.shape[:2], dtype=np.float32)
        for copy, columns in enumerate(tqdm(self.columns, desc="write codes")):
            begin = copy * len(small)
            end = min(begin + len(small), self.size)
            codes[begin:end] = small[: end - begin][:, :, columns]
            scales[begin:end] = small_scales[: end - begin]
        codes.flush()
        return QuantizedGallery(codes, scales)


def search_large(
    texts: np.ndarray, tokens: np.ndarray, size: int, n_queries: int, k: int
) -> dict[str, Any]:
    """Two-stage search of a simulated large gallery, and how much memory it took."""
    gallery = PermutedGallery(tokens, size, seed=1)
    with tempfile.TemporaryDirectory(prefix="gallery-") as folder:
        begin = time.process_time()
        codes = gallery.write_codes(Path(folder))
        middle = time.process_time()
        found = two_stage_search(texts[:n_queries], gallery, codes, k)
        end = time.process_time()
        exact = search(texts[: min(4, n_queries)], gallery, k)
    return {
        "part": "large",
        "objects": size,
        "queries": n_queries,
        f"recall_at_{k}": overlap(found.indices[: len(exact.indices)], exact.indices),
        "queries_with_exact_reference": len(exact.indices),
        "own_object_first": float((found.indices[:, 0] == np.arange(n_queries)).mean()),
        "seconds_write_codes": round(middle - begin, 1),
        "seconds_search": round(end - middle, 1),
        "gigabytes_codes": round(codes.codes.nbytes / 2**30, 2),
        "gigabytes_exact_float32": round(size * TOKENS * WIDTH * 4 / 2**30, 2),
        "gigabytes_peak_resident": round(peak_resident(), 2),
    }


def peak_resident() -> float:
    """Largest resident memory of this process so far in GiB (Linux counts kilobytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the three parts and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--timed-objects", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--large-queries", type=int, default=32)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    small = {"objects": 2000, "timed_objects": 200, "queries": 200, "large": 20_000}
    options = parse_options(parser, "retrieval", arguments, **small)
    record = Record("retrieval", options)
    torch.set_num_threads(options.threads)
    texts, tokens = made_up_embeddings(options.objects, seed=0)
    blocked, difference = compare_blocked(texts, tokens, options.timed_objects, options.rounds)
    if difference > 1e-5:
        raise SystemExit(f"scores differ from the loop by {difference}")
    record.add(blocked)
    int8 = record.add(compare_int8(texts[: options.queries], tokens, options.k, options.rounds))
    # The simulated gallery needs a small base only; what the first parts hold is let go.
    texts, tokens = texts[:10_000].copy(), tokens[:10_000].copy()
    large = record.add(search_large(texts, tokens, options.large, options.large_queries, options.k))
    recall = f"recall_at_{options.k}"
    headline = {
        "gemm_share": blocked["gemm_share"],
        f"blocked_speedup_{options.objects // 1000}k": blocked["speedup_median"],
        f"int8_speedup_{options.objects // 1000}k": int8["speedup_median"],
        f"int8_{recall}": int8[recall],
        "large_objects": large["objects"],
        f"large_{recall}": large[recall],
        "large_gigabytes_peak_resident": large["gigabytes_peak_resident"],
    }
    record.finish(headline, {"blocked_max_difference": difference})


if __name__ == "__main__":
    main()
