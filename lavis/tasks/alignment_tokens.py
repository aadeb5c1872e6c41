"""Encode the clouds of the alignment study once; all runs read the same tokens.

The encoder is frozen, so its tokens depend on the cloud alone. They are those of evaluation
processing (no augmentation): in runs this short an object is seen once, so augmentation would only
change which view it is, and every condition sees the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader
from tqdm import tqdm

from lavis.common.errors import ConfigError
from lavis.common.files import file_sha256
from lavis.common.utils import get_abs_path, get_cache_path
from lavis.config.run_config import RunConfig
from lavis.evaluation.records import config_hash
from lavis.models.point_llm_contrastive_models.point_llm_contrastive import PointLLMContrastive
from lavis.models.point_llm_contrastive_models.token_cache import (
    TokenCache,
    encoder_identity,
    read_index,
    write_tokens,
)
from lavis.tasks.alignment_runs import PROJECT, StudyPlan
from lavis.tasks.alignment_study import object_groups

DATASET = "bricks_caption"
BATCH = 64
Objects = dict[str, list[str]]


def prepare_tokens(
    plan: StudyPlan,
) -> tuple[PointLLMContrastive, dict[str, Objects], str, dict[str, Any] | None]:
    """Build the model of the study and encode the three splits, unless they are encoded.

    Returns:
        The model, reading the tokens; {split: {"object_id", "text", groups}}; the tokens' identity;
        the data version, None for data without one.

    Raises:
        ConfigError: a split that the data set does not have, or the locked test-final.
    """
    recipe = get_abs_path(f"{PROJECT}/train/stage1_center.yaml")
    # The splits are named as a training run's, so that the lock of test-final refuses it.
    named = [f"run.valid_splits=[{plan.val_split}]", f"run.test_splits=[{plan.split}]"]
    cfg = RunConfig.from_file(recipe, [*plan.limit_options(), *named])
    splits = study_splits(cfg, ("train", plan.val_split, plan.split))
    objects = {split: describe(dataset) for split, dataset in splits.items()}
    model = PointLLMContrastive.from_config(cfg.model_cfg).eval()
    identity = {
        "encoder": encoder_identity(model.point_encoder),
        "data": data_identity(cfg, objects),
    }
    index = read_index(plan.tokens)
    if index is None or {key: index[key] for key in identity} != identity:
        encoded = {name: encode(model, dataset, name) for name, dataset in splits.items()}
        write_tokens(plan.tokens, identity, encoded, objects)
    model.token_cache = TokenCache(plan.tokens, identity["encoder"])
    version = getattr(splits[plan.split], "data_version", None)
    return model, objects, config_hash(identity), version


def study_splits(cfg: RunConfig, names: Sequence[str]) -> dict[str, Any]:
    """Open the splits under evaluation processing: {split: dataset}."""
    from lavis.tasks import setup_task

    datasets = setup_task(cfg).build_datasets(cfg)[DATASET]
    absent = [name for name in names if name not in datasets]
    if absent:
        raise ConfigError(
            "the data set does not have a split of the study",
            where="--val-split, --split",
            got=", ".join(absent),
            expected=f"some of {', '.join(datasets)}",
        )
    return {n: datasets[n].reference_dataset() if n == "train" else datasets[n] for n in names}


def describe(dataset: Any) -> Objects:
    """Object ids, processed texts and group labels of a data set, in its order."""
    annotation = dataset.annotation
    ids = [str(entry["instance_id"]) for entry in annotation]
    return {
        "object_id": [str(entry["object_id"]) for entry in annotation],
        "text": [dataset.text_fields(entry)["text_input"] for entry in annotation],
        **object_groups(annotation, ids),
    }


def data_identity(cfg: RunConfig, objects: Mapping[str, Objects]) -> str:
    """Hash of the annotations, of the evaluation processing, and of the prepared clouds."""
    section: Any = cfg.datasets_cfg[DATASET]
    processor = OmegaConf.to_container(section.point_processor.eval, resolve=True)
    manifest = Path(get_cache_path(section.build_info.points.storage)) / "manifest.json"
    clouds = file_sha256(manifest) if manifest.is_file() else None
    content = {"objects": dict(objects), "processor": processor, "clouds": clouds}
    return config_hash(content)


@torch.no_grad()
def encode(model: PointLLMContrastive, dataset: Any, name: str) -> np.ndarray:
    """Tokens of every object of a data set, in its order: float32 [N,1+G,C]."""
    loader = DataLoader(dataset, BATCH, collate_fn=dataset.collater)
    parts = [
        model.point_tokens(samples).cpu().numpy() for samples in tqdm(loader, desc=f"encode {name}")
    ]
    return np.concatenate(parts)
