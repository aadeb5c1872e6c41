"""Embeddings of a split in every modality, as one file for other programs.

`<split>_embeds.safetensors` holds `<modality>_embeds` float32 [N,Q,E] of unit embeddings, and in
its metadata `ids` (JSON) and `space`. It serves as a gallery for retrieval, as the visual cache of
Point-LLM, as `build_info.image_embeds`, and for generators that take CLIP-like embeddings [E].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save
from torch import Tensor

from lavis.common.errors import EvaluationError
from lavis.common.registry import registry
from lavis.tasks.modality_retrieval import ModalityRetrievalTask
from lavis.tasks.point_task import Scores


@registry.register_task("embedding_export")
class EmbeddingExportTask(ModalityRetrievalTask):
    """Write the embeddings of a split; there is nothing to score."""

    name = "embedding_export"
    fewest = 1
    metric_names = ()

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Return the file."""
        gallery, space = self.gallery, getattr(model, "space", None)
        return Scores(
            metrics={},
            baselines={},
            agg_metrics=None,
            extra={
                "modalities": list(gallery.embeds),
                "space": space,
                "unavailable": {"agg_metrics": "an export has no score"},
            },
            files={"embeds.safetensors": as_safetensors(gallery.ids, gallery.embeds, space)},
        )


def as_safetensors(ids: list[str], embeds: Mapping[str, Tensor], space: str | None) -> bytes:
    """Return the file of embeddings [N,E] or [N,Q,E] by modality.

    Raises:
        EvaluationError: items without one of the modalities.
    """
    for name, rows in embeds.items():
        absent = (~rows.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        if absent:
            what, got = f"items have no {name} to export", [ids[row] for row in absent[:5]]
            raise EvaluationError(what, where="run.modalities", got=got)
    facts = {"ids": json.dumps(ids)} | ({} if space is None else {"space": space})
    tensors = {
        f"{name}_embeds": (rows[:, None] if rows.ndim == 2 else rows).float().contiguous()
        for name, rows in embeds.items()
    }
    return save(tensors, facts)
