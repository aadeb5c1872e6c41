"""Builders of PointLLM's descriptions and questions (lavis/datasets/sources/pointllm.py)."""

from __future__ import annotations

from lavis.datasets.builders.base_dataset_builder import SourceBuilder, register_builder
from lavis.datasets.datasets.point_text_datasets import PointQADataset, PointTextDataset
from lavis.datasets.sources.pointllm import PointLLMCaptions, PointLLMQuestions


@register_builder("pointllm_caption")
class PointLLMCaptionBuilder(SourceBuilder):
    """Brief descriptions (stage 1); `type: detailed` for stage 2."""

    train_dataset_cls = PointTextDataset
    source_cls = PointLLMCaptions
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/pointllm/brief.yaml",
        "detailed": "configs/datasets/pointllm/detailed.yaml",
    }


@register_builder("pointllm_qa")
class PointLLMQABuilder(SourceBuilder):
    """Complex instructions (stage 2)."""

    train_dataset_cls = PointQADataset
    source_cls = PointLLMQuestions
    DATASET_CONFIG_DICT = {"default": "configs/datasets/pointllm/questions.yaml"}  # noqa: RUF012
