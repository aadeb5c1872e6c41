"""Alignment study of one model: the positions of object embeddings relative to text embeddings.

As a training task it validates by these figures, so they are logged on the way; as an evaluation it
also writes `<split>_embeddings.npz`, from which `alignment_compare` puts several models side by
side. Any JointEmbedder takes part; the embeddings of a WordEmbedder keep their lengths, and its
word embeddings give the release's token-level figures.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch

from lavis.common.dist_utils import is_main_process
from lavis.common.errors import ConfigError
from lavis.common.registry import registry
from lavis.evaluation.alignment import PairedSets, published_metrics
from lavis.evaluation.intervals import mean_metric
from lavis.evaluation.retrieval import RECALL_AT
from lavis.models.abilities import JointEmbedder, WordEmbedder, can
from lavis.tasks.data_needs import DataNeeds
from lavis.tasks.point_task import PointTask, Scores

GROUP_KEYS = ("color", "category")  # fields of the annotation within which recall is measured


@registry.register_task("alignment_study")
class AlignmentStudyTask(PointTask):
    """Train a model on its own loss; measure how its objects lie among the texts."""

    name = "alignment_study"
    needs = (JointEmbedder,)  # a WordEmbedder also gives token-level figures
    metric_names = (
        *(f"{d}/recall_at_{k}" for d in ("object_to_text", "text_to_object") for k in RECALL_AT),
        *("nearest_text_accuracy", "nearest_text_distance", "min_pairwise_distance"),
        *("avg_pairwise_distance", "centroid_distance", "margin", "within_*/recall_at_1"),
        *("matched_cosine_similarity", "avg_cosine_similarity", "max_cosine_similarity"),
        *("point_norm", "text_norm", "point_variance", "text_variance", "loss"),
    )
    data_needs = DataNeeds(("caption",))

    def build_datasets(self, cfg: Any) -> dict[str, Any]:
        """Build the data sets; refuse a memory bank that would hold every object at once."""
        datasets = super().build_datasets(cfg)
        size = int(cfg.model_cfg.get("memory_bank_size") or 0)
        uses_bank = cfg.model_cfg.get("loss_type") == "contrastive" and (
            cfg.model_cfg.get("negatives") == "bank"
        )
        splits = self.run_cfg.train_splits
        objects = sum(len(d[s]) for d in datasets.values() for s in splits if s in d)
        if uses_bank and not self.run_cfg.evaluate and size >= objects:
            raise ConfigError(
                "the memory bank is not smaller than the data: an object would be its own negative",
                where="model.memory_bank_size",
                got=f"{size} entries, {objects} training objects",
                expected=f"fewer than {objects}",
                fix="lower model.memory_bank_size or set model.negatives=batch",
            )
        return datasets

    def train_step(self, model: Any, samples: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the model's losses; keep the projector that the run starts from."""
        if samples.get("epoch") == 0 and samples.get("iters") == 0 and is_main_process():
            untrained = getattr(model, "module", model)  # DDP wraps the model
            if can(untrained, WordEmbedder):
                untrained.save_initial_weights(registry.get_path("output_dir"))
        return model(samples)

    @torch.no_grad()
    def valid_step(self, model: Any, samples: dict[str, Any]) -> list[dict[str, Any]]:
        """Embed a batch; while training also record its loss."""
        embeds = batch_embeddings(model, samples)
        columns = {
            "instance_id": map(str, samples["instance_id"]),
            "text": samples["text_input"],
            "point": embeds["points"].float().cpu().numpy(),
            "text_embed": embeds["texts"].float().cpu().numpy(),
        }
        if "words" in embeds:
            columns["words"] = [words.float().cpu().numpy() for words in embeds["words"]]
        if not self.run_cfg.evaluate:
            columns["loss"] = [float(model(samples)["loss"])] * len(samples["text_input"])
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def score(self, records: list[dict[str, Any]], dataset: Any, model: Any) -> Scores:
        """Return figures with intervals, chance, and the token-level figures of the release."""
        points = np.stack([record["point"] for record in records])
        texts = np.stack([record["text_embed"] for record in records])
        names = [record["text"] for record in records]
        ids = [record["instance_id"] for record in records]
        groups = object_groups(dataset.annotation, ids)
        pairs = PairedSets(points, texts, names, groups)
        metrics = pairs.metrics()
        extra: dict[str, Any] = {
            "point_shape": list(points.shape[1:]),
            "trained_steps": getattr(model, "trained_steps", None),
        }
        if "words" in records[0]:
            words = np.concatenate([record["words"] for record in records])
            extra["published_token_level"] = published_metrics(pairs.points, words)
        agg_metrics = metrics["object_to_text/recall_at_1"]["value"]
        if "loss" in records[0]:
            losses = [record["loss"] for record in records]
            metrics["loss"] = mean_metric(losses)
            agg_metrics = -metrics["loss"]["value"]  # as published: best by validation loss
        arrays = {"points": points, "texts": texts, "names": names, "ids": ids, **groups}
        nearest = pairs.similarity.argmax(1)
        return Scores(
            metrics=metrics,
            baselines={"chance": pairs.chance()},
            agg_metrics=agg_metrics,
            extra=extra,
            predictions=[
                {"instance_id": i, "text": name, "nearest_text": names[k]}
                for i, name, k in zip(ids, names, nearest.tolist())
            ],
            files={"embeddings.npz": packed(arrays)} if self.run_cfg.evaluate else {},
        )


def object_groups(annotation: list[dict[str, Any]], ids: list[str]) -> dict[str, list[str]]:
    """Labels of the objects in the order of `ids`: {"color": …, "category": …}.

    Args:
        annotation: the data set's records, with `instance_id`.
        ids: N instance ids.

    Returns:
        Only keys that every record has; a data set without colours has no figures within colours.
    """
    records = {str(entry["instance_id"]): entry for entry in annotation}
    found = {key: [records[name].get(key) for name in ids] for key in GROUP_KEYS}
    return {key: list(map(str, labels)) for key, labels in found.items() if None not in labels}


def batch_embeddings(model: Any, samples: dict[str, Any]) -> dict[str, Any]:
    """Embed the objects and texts of a batch: among words where the model can, else jointly."""
    if can(model, WordEmbedder):
        return model.embed_words(samples)
    texts = model.embed_texts(samples["text_input"])
    return {"points": model.embed(samples, "point"), "texts": texts}


def packed(arrays: dict[str, Any]) -> bytes:
    """Return named arrays as the content of an .npz file."""
    columns: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **columns)
    return buffer.getvalue()
