"""Two-way retrieval scores: fast contrast (PTC) for every pair, matching (PTM) for the best ones.

A candidate's score is its PTC logit plus a weighted PTM logit, both log-odds:

    cosine / temperature + ptm_weight * (matched logit - unmatched logit)

BLIP-2 adds the cosine, whose range is about 0.3, and the matched logit; a matching probability
saturates. Either hides PTC's order of the best candidates. Each pair that is in either side's top k
is matched once and serves both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from lavis.common.dist_utils import (
    all_gather_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from lavis.datasets.data_utils import move_to_device
from lavis.models.losses import query_text_similarity

if TYPE_CHECKING:
    from lavis.models.point_blip_models.point_blip import PointBlip

PAIRS_PER_BATCH = 128
OBJECTS_PER_BLOCK = 64


@dataclass
class SimilarityMatrices:
    """Scores of N objects and N captions, in the order of `instance_ids` (sorted)."""

    instance_ids: list[str]
    captions: list[str]
    contrast: Tensor  # [N,N] PTC logits (cosine / temperature), object by caption
    matching: Tensor  # [N,N] PTM log-odds, object by caption; 0 where a pair was not matched
    k_test: int  # candidates of a row that were matched
    object_embeds: Tensor  # [N,Q,E]

    def object_to_text(self, ptm_weight: float) -> Tensor:
        """Return re-ranked scores, object by caption [N,N]."""
        return rerank(self.contrast, self.matching, self.k_test, ptm_weight)

    def text_to_object(self, ptm_weight: float) -> Tensor:
        """Return re-ranked scores, caption by object [N,N]."""
        return rerank(self.contrast.T, self.matching.T, self.k_test, ptm_weight)


@torch.no_grad()
def compute_sim_matrix(model: PointBlip, data_loader: Any, k_test: int) -> SimilarityMatrices:
    """Score every object with every caption.

    Args:
        model: a stage-1 model.
        data_loader: batches with `point_cloud`, `text_input`, `instance_id`; each rank has its own
            share.
        k_test: candidates that PTM re-ranks on each side; 0 ranks by PTC alone.

    Returns:
        The same matrices on every rank.
    """
    items = sorted(collect_features(model, data_loader), key=lambda item: item["instance_id"])
    device = model.device
    point_embeds = torch.stack([item["point_embeds"] for item in items]).to(device)
    text_embeds = torch.stack([item["text_embeds"] for item in items]).to(device)
    blocks = point_embeds.split(OBJECTS_PER_BLOCK)  # all at once would hold [N,Q,N] products
    cosine = torch.cat([query_text_similarity(block, text_embeds).cpu() for block in blocks])
    contrast = cosine / model.temperature().cpu()
    return SimilarityMatrices(
        instance_ids=[item["instance_id"] for item in items],
        captions=[item["text_input"] for item in items],
        contrast=contrast,
        matching=match_pairs(model, items, candidate_pairs(contrast, k_test)),
        k_test=k_test,
        object_embeds=point_embeds.cpu(),
    )


def collect_features(model: PointBlip, data_loader: Any) -> list[dict[str, Any]]:
    """Embed this rank's share and return every rank's items, each once."""
    own: list[dict[str, Any]] = []
    for samples in tqdm(data_loader, desc="embed objects", disable=not is_main_process()):
        samples = move_to_device(samples, model.device)
        point_embeds, point_tokens = model.embed_for_matching(samples)
        text_embeds = model.embed_texts(samples["text_input"])
        for row, instance_id in enumerate(samples["instance_id"]):
            own.append(
                {
                    "instance_id": instance_id,
                    "text_input": samples["text_input"][row],
                    "point_embeds": point_embeds[row].cpu(),
                    "text_embeds": text_embeds[row].cpu(),
                    "point_tokens": point_tokens[row].cpu(),
                }
            )
    return [item for items in all_gather_object_list(own) for item in items]


def candidate_pairs(contrast: Tensor, k_test: int) -> Tensor:
    """Return the (object, caption) pairs [M,2] that are in the top k of either side."""
    k = min(k_test, contrast.shape[0])
    chosen = torch.zeros_like(contrast, dtype=torch.bool)
    if k > 0:
        chosen.scatter_(1, contrast.topk(k, dim=1).indices, True)
        chosen.T.scatter_(1, contrast.T.topk(k, dim=1).indices, True)
    return chosen.nonzero()


def match_pairs(model: PointBlip, items: list[dict[str, Any]], pairs: Tensor) -> Tensor:
    """Return PTM log-odds [N,N], 0 where a pair was not matched; ranks share the work."""
    # Pairs of similar caption length share a batch, so little padding is computed.
    lengths = torch.tensor([len(item["text_input"]) for item in items])
    pairs = pairs[lengths[pairs[:, 1]].argsort(stable=True)] if len(pairs) else pairs
    batches = pairs.split(PAIRS_PER_BATCH)[get_rank() :: get_world_size()] if len(pairs) else ()
    scored: list[tuple[Tensor, Tensor]] = []
    for batch in tqdm(batches, desc="match pairs", disable=not is_main_process()):
        tokens = torch.stack([items[row]["point_tokens"] for row in batch[:, 0].tolist()])
        texts = [items[column]["text_input"] for column in batch[:, 1].tolist()]
        scored.append((batch, model.match_scores(tokens.to(model.device), texts).cpu()))
    matched = torch.zeros(len(items), len(items))
    for batch, scores in (part for parts in all_gather_object_list(scored) for part in parts):
        matched[batch[:, 0], batch[:, 1]] = scores
    return matched


def rerank(contrast: Tensor, matching: Tensor, k_test: int, ptm_weight: float) -> Tensor:
    """Add weighted PTM to PTC in each row's top k and put the rest below, in PTC order.

    Args:
        contrast: PTC logits [N,M].
        matching: PTM log-odds [N,M], filled at each row's top k.
        k_test: k; 0 returns `contrast`.
        ptm_weight: weight of PTM; 0 keeps PTC's order.

    Returns:
        [N,M].
    """
    k = min(k_test, contrast.shape[1])
    if k == 0:
        return contrast.clone()
    top = contrast.topk(k, dim=1).indices
    scores = (contrast + ptm_weight * matching).gather(1, top)  # [N,k]
    # The best of the rest comes one below the worst candidate.
    gap = scores.amin(1, keepdim=True) - contrast.amax(1, keepdim=True) - 1.0
    return (contrast + gap).scatter(1, top, scores)
