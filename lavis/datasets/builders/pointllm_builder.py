"""Builders of PointLLM's descriptions and questions (lavis/datasets/sources/pointllm.py)."""

from __future__ import annotations

from lavis.common.registry import registry

from lavis.datasets.builders.base_dataset_builder import SourceBuilder
from lavis.datasets.datasets.point_text_datasets import PointQADataset, PointTextDataset
from lavis.datasets.sources.pointllm import PointLLMCaptions, PointLLMQuestions


@registry.register_builder("pointllm_caption")
class PointLLMCaptionBuilder(SourceBuilder):
    """Brief descriptions (stage 1); `type: detailed` for stage 2."""

    train_dataset_cls = PointTextDataset
    DATASET_CONFIG_DICT = {  # noqa: RUF012
        "default": "configs/datasets/pointllm/brief.yaml",
        "detailed": "configs/datasets/pointllm/detailed.yaml",
    }

    def make_source(self) -> PointLLMCaptions:
        """Return the descriptions as configured."""
        return PointLLMCaptions(self.config, "pointllm_caption", self.train_dataset_cls)


@registry.register_builder("pointllm_qa")
class PointLLMQABuilder(SourceBuilder):
    """Complex instructions (stage 2)."""

    train_dataset_cls = PointQADataset
    DATASET_CONFIG_DICT = {"default": "configs/datasets/pointllm/questions.yaml"}  # noqa: RUF012

    def make_source(self) -> PointLLMQuestions:
        """Return the questions as configured."""
        return PointLLMQuestions(self.config, "pointllm_qa", self.train_dataset_cls)
