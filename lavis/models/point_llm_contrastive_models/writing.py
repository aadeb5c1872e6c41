"""What the aligned language model writes: captions, and answers to questions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lavis.models.point_llm_contrastive_models.aligned_llm import AlignedLanguageModel


class WritesAboutClouds:
    """Adds `generate` and `predict_answers` to a model that projects clouds into a prefix."""

    language_model: AlignedLanguageModel
    instructions: list[str]

    def project(self, point_cloud: Tensor) -> Tensor:
        """Encode and project clouds: [B,1+G,D]."""
        raise TypeError(f"{type(self).__name__} has to define project()")

    def llm_prefix(self, projected: Tensor) -> Tensor:
        """Put the boundary tokens around projected tokens: [B,3+G,D]."""
        raise TypeError(f"{type(self).__name__} has to define llm_prefix()")

    @torch.no_grad()
    def generate(
        self,
        samples: dict[str, Any],
        num_beams: int = 1,
        max_length: int = 30,
        min_length: int = 1,
        top_p: float | None = None,
        temperature: float | None = None,
        prompt: str | None = None,
    ) -> list[str]:
        """Let the language model write about clouds.

        Args:
            samples: `point_cloud` [B,N,3|6].
            num_beams: beams; 1 is greedy.
            max_length, min_length: bounds on the new tokens.
            top_p: nucleus mass; sets sampling with one beam.
            temperature: of sampling.
            prompt: instruction for every cloud; None is the first of the yaml's.
        """
        prompts = [prompt or self.instructions[0]] * len(samples["point_cloud"])
        sampling = {"do_sample": False, "top_p": None, "top_k": None, "temperature": None}
        if top_p is not None:
            sampling = {"do_sample": True, "top_p": top_p, "temperature": temperature or 1.0}
            num_beams = 1
        prefix = self.llm_prefix(self.project(samples["point_cloud"]))
        lengths = {"max_new_tokens": max_length, "min_new_tokens": min_length}
        return self.language_model.generate(
            prefix, prompts, num_beams=num_beams, **lengths, **sampling
        )

    @torch.no_grad()
    def predict_answers(
        self, samples: dict[str, Any], num_beams: int = 1, max_len: int = 12, min_len: int = 1
    ) -> list[str]:
        """Answer `samples['question']` about each cloud: the question is the instruction."""
        prefix = self.llm_prefix(self.project(samples["point_cloud"]))
        return self.language_model.generate(
            prefix,
            list(samples["question"]),
            num_beams=num_beams,
            max_new_tokens=max_len,
            min_new_tokens=min_len,
            do_sample=False,
        )
