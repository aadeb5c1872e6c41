"""Nearest objects of a large gallery: blocked exact search, and int8 codes with exact rescoring.

    found = search(text_embeds, gallery, k=100)            # gallery: [Ng,Q,E], also a memory map
    codes = quantize(gallery, "gallery_int8")              # a quarter of the memory, on disk
    found = two_stage_search(text_embeds, gallery, codes, k=100)

The score is PTC's: the largest product over the Q query tokens of an object. `search` holds one
block of scores and the best k; its result is that of a stable sort of the full matrix, equal scores
in gallery order. `two_stage_search` reads int8 codes (1 byte a value, one scale per token), in
bfloat16 where the processor multiplies it faster, and scores the best candidates again from the
exact embeddings, of which it reads only those rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lavis.common.errors import EvaluationError
from lavis.common.precision import fast_bf16
from lavis.evaluation.provenance import write_json_atomic

# Rows of products held at once: 512 x 256 floats stay in a core's second-level cache.
_ROWS = 512
_CANDIDATES = 2  # first-stage candidates per wanted result


class Gallery(Protocol):
    """An array, a memory map, or anything that slices and gathers rows like one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class SearchResult:
    """The best gallery items of every query, best first.

    Attributes:
        indices: [Nq,k] int64.
        scores: [Nq,k] float32.
    """

    indices: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class QuantizedGallery:
    """int8 codes of a gallery: embedding = codes * scale, rounded to the nearest.

    Attributes:
        codes: [Ng,Q,E] int8, usually a memory map.
        scales: [Ng,Q] float32.
    """

    codes: np.ndarray
    scales: np.ndarray

    @classmethod
    def open(cls, folder: str | Path) -> QuantizedGallery:
        """Map what `quantize` wrote."""
        paths = [Path(folder) / name for name in ("codes.npy", "scales.npy", "complete.json")]
        absent = [str(path) for path in paths if not path.is_file()]
        if absent:
            raise EvaluationError(
                "a quantized gallery is not whole", where=str(folder), got=f"no {absent}"
            )
        return cls(np.load(paths[0], mmap_mode="r"), np.load(paths[1]))

    def __len__(self) -> int:
        return len(self.codes)


def max_similarity(query_embeds: np.ndarray, gallery_embeds: np.ndarray) -> np.ndarray:
    """PTC score max_q z_q . t between [Nq,E] | [Nq,Q,E] and [Ng,E] | [Ng,Q,E] -> [Nq,Ng].

    Half precision (a compact memory map) is multiplied in float32. Tokens are reduced along rows,
    so that the maximum runs over whole cache lines.
    """
    queries, gallery = _at_least_float32(query_embeds), _at_least_float32(gallery_embeds)
    if gallery.ndim == 2:
        return _token_maximum(queries, gallery)
    if queries.ndim == 2:
        return _token_maximum(gallery, queries).T
    n_tokens = gallery.shape[1]
    scores = _token_maximum(queries, gallery.reshape(-1, gallery.shape[-1]))  # [Nq,Ng*Q]
    return scores.reshape(len(queries), len(gallery), n_tokens).max(axis=2)


def _token_maximum(tokens: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Largest product over the tokens: [N,Q,E] | [N,E] with [M,E] -> [N,M]."""
    if tokens.ndim == 2:
        return tokens @ vectors.T
    n, n_tokens, width = tokens.shape
    result = np.empty((n, len(vectors)), dtype=np.result_type(tokens, vectors))
    step = max(1, _ROWS // n_tokens)
    flipped = np.ascontiguousarray(vectors.T)  # [E,M]
    for begin in range(0, n, step):
        block = tokens[begin : begin + step]
        products = block.reshape(-1, width) @ flipped  # [step*Q,M]
        products.reshape(len(block), n_tokens, -1).max(axis=1, out=result[begin : begin + step])
    return result


def _at_least_float32(embeds: np.ndarray) -> np.ndarray:
    embeds = np.asarray(embeds)
    return embeds.astype(np.result_type(embeds.dtype, np.float32), copy=False)


def search(
    queries: np.ndarray,
    gallery: Gallery,
    k: int,
    *,
    query_block: int = 256,
    gallery_block: int = 4096,
) -> SearchResult:
    """Find the k best gallery items of each query, exactly.

    Args:
        queries: [Nq,E] or [Nq,Q,E].
        gallery: [Ng,E] or [Ng,Q,E]; sliced in blocks, so a memory map is never read whole.
        k: results per query, at most Ng.
        query_block, gallery_block: sizes of a block of scores; a block of the gallery is read once
            per query block.

    Raises:
        EvaluationError: shapes that do not go together, k out of range, or NaN scores.
    """
    _check_search(queries, gallery.shape, k)
    parts = []
    for begin in range(0, len(queries), query_block):
        rows = queries[begin : begin + query_block]
        blocks = (
            max_similarity(rows, gallery[start : start + gallery_block])
            for start in range(0, len(gallery), gallery_block)
        )
        parts.append(_best(blocks, len(rows), k, begin))
    return _joined(parts)


def quantize(
    gallery: Gallery, folder: str | Path | None = None, *, block: int = 4096
) -> QuantizedGallery:
    """Turn a gallery into int8 codes.

    Args:
        gallery: [Ng,Q,E] or [Ng,E] (one token).
        folder: where codes are written, as .npy to be mapped again; None keeps them in memory.
        block: objects read at once.
    """
    shape = gallery.shape if len(gallery.shape) == 3 else (len(gallery), 1, gallery.shape[-1])
    if folder is None:
        codes: np.ndarray = np.empty(shape, dtype=np.int8)
    else:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "complete.json").unlink(missing_ok=True)
        path = Path(folder) / "codes.npy"
        codes = np.lib.format.open_memmap(path, mode="w+", dtype=np.int8, shape=shape)
    scales = np.empty(shape[:2], dtype=np.float32)
    for begin in range(0, len(gallery), block):
        part = _at_least_float32(gallery[begin : begin + block]).reshape(-1, *shape[1:])
        codes[begin : begin + block], scales[begin : begin + block] = int8_codes(part)
    if folder is None:
        return QuantizedGallery(codes, scales)
    codes.flush()  # type: ignore[attr-defined]
    np.save(Path(folder) / "scales.npy", scales)
    write_json_atomic(Path(folder) / "complete.json", {"shape": list(shape)})
    return QuantizedGallery.open(folder)


def int8_codes(embeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes [B,Q,E] int8 and scales [B,Q] of embeddings [B,Q,E]; the largest value gets 127."""
    scales = np.abs(embeds).max(axis=-1) / 127.0
    if not np.isfinite(scales).all():
        raise EvaluationError("embeddings with NaN or infinity have no codes")
    codes = np.rint(embeds / np.maximum(scales, 1e-30)[..., None])
    return codes.astype(np.int8), scales.astype(np.float32)


def two_stage_search(
    queries: np.ndarray,
    gallery: Gallery,
    quantized: QuantizedGallery,
    k: int,
    *,
    n_candidates: int | None = None,
    query_block: int = 1024,
    gallery_block: int = 1024,
) -> SearchResult:
    """Find candidates by int8 codes and score them again exactly.

    Args:
        queries: [Nq,E].
        gallery: exact embeddings [Ng,Q,E] | [Ng,E]; only candidates' rows are read.
        quantized: its codes.
        k: results per query.
        n_candidates: rescored items per query; None is 2k, which finds all of the exact top 100 in
            the measurements of benchmarks/retrieval.py.
        query_block, gallery_block: sizes of a block of scores.

    Raises:
        EvaluationError: as `search`, or codes of another gallery.
    """
    if len(quantized) != len(gallery):
        raise EvaluationError(
            "gallery and codes disagree", got=f"{len(gallery)} and {len(quantized)} objects"
        )
    _check_search(queries, quantized.codes.shape, k)
    _check_finite(np.asarray(queries), 0)
    count = max(k, min(n_candidates or _CANDIDATES * k, len(gallery)))
    parts = []
    for begin in range(0, len(queries), query_block):
        rows = _at_least_float32(queries[begin : begin + query_block])
        candidates = _best_by_codes(torch.from_numpy(rows), quantized, count, gallery_block)
        parts.append(_rescored(rows, gallery, candidates, k))
    return _joined(parts)


def _best_by_codes(
    queries: Tensor, quantized: QuantizedGallery, count: int, block: int
) -> np.ndarray:
    """Indices [B,count] of the gallery items whose codes score best, in no order."""
    dtype = torch.bfloat16 if fast_bf16("cpu") else torch.float32
    flipped = queries.to(dtype).T.contiguous()  # [E,B]
    scores = torch.empty(len(queries), 0)
    indices = torch.empty(len(queries), 0, dtype=torch.long)
    for begin in range(0, len(quantized), block):
        end = min(begin + block, len(quantized))
        codes = torch.from_numpy(np.array(quantized.codes[begin:end])).to(dtype)
        codes *= torch.from_numpy(quantized.scales[begin:end])[..., None].to(dtype)
        own = _code_scores(codes, flipped).T.float()
        rows = torch.arange(begin, end).expand(len(queries), -1)
        scores, indices = torch.cat([scores, own], 1), torch.cat([indices, rows], 1)
        scores, kept = scores.topk(min(count, scores.shape[1]), dim=1, sorted=False)
        indices = indices.gather(1, kept)
    return indices.numpy()


def _code_scores(codes: Tensor, queries: Tensor) -> Tensor:
    """Score codes [b,Q,E] with queries [E,B]: [b,B], few objects at a time, as in the cache."""
    parts = codes.split(max(1, _ROWS // codes.shape[1]))
    return torch.cat(
        [(part.flatten(0, 1) @ queries).unflatten(0, part.shape[:2]).amax(1) for part in parts]
    )


def _rescored(rows: np.ndarray, gallery: Gallery, candidates: np.ndarray, k: int) -> SearchResult:
    """Order the candidates [B,C] of query rows [B,E] by their exact scores; k stay."""
    indices = np.sort(candidates, axis=1)  # reads go forward, equal scores keep gallery order
    scores = np.stack(
        [max_similarity(row[None], gallery[own])[0] for row, own in zip(rows, indices)]
    )
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return SearchResult(np.take_along_axis(indices, order, 1), np.take_along_axis(scores, order, 1))


def _best(blocks: Iterator[np.ndarray], n_rows: int, k: int, first_query: int) -> SearchResult:
    """Best k of score blocks [n_rows,*] that follow each other along the gallery."""
    indices = np.full((n_rows, k), -1, dtype=np.int64)
    scores = np.full((n_rows, k), -np.inf, dtype=np.float32)
    offset = 0
    for block in blocks:
        _check_finite(block, first_query)
        # A later item of equal score never enters: the earlier one ranks first.
        better = block > scores[:, -1:]
        for row in np.flatnonzero(better.any(axis=1)):
            columns = np.flatnonzero(better[row])
            joined = np.concatenate([scores[row], block[row, columns]])
            names = np.concatenate([indices[row], columns + offset])
            order = np.argsort(-joined, kind="stable")[:k]
            scores[row], indices[row] = joined[order], names[order]
        offset += block.shape[1]
    return SearchResult(indices, scores)


def _check_finite(rows: np.ndarray, first_query: int) -> None:
    """Refuse scores or embeddings [B,...] of queries that are not numbers."""
    bad = np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))
    if len(bad):
        raise EvaluationError(
            f"{len(bad)} queries have a NaN or infinite similarity",
            where=f"queries {(bad[:5] + first_query).tolist()}",
            fix="check the embeddings of queries and gallery",
        )


def _joined(parts: Sequence[SearchResult]) -> SearchResult:
    return SearchResult(
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def _check_search(queries: np.ndarray, gallery_shape: tuple[int, ...], k: int) -> None:
    shape = np.shape(queries)
    if (
        len(shape) not in (2, 3)
        or len(gallery_shape) not in (2, 3)
        or 0 in (*shape, *gallery_shape)
        or shape[-1] != gallery_shape[-1]
        or not 1 <= k <= gallery_shape[0]
    ):
        raise EvaluationError(
            "queries and gallery cannot be searched",
            got=f"queries {shape}, gallery {gallery_shape}, k {k}",
            expected="[N,E] or [N,Q,E] with the same E and at least one item, 1 <= k <= Ng",
        )
