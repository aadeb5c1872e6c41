"""Captions of clouds and answers to questions, written by a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lavis.models.language.candidates import score_candidates
from lavis.models.language.llm import LanguageModel

# Objects that are written about together; more share no work, and their captions wait for the
# longest. Within a larger batch prompts of similar length go together.
_TOGETHER = 32


class CloudWriter:
    """Adds `generate` and `answer` to a model that turns clouds into a prefix."""

    language_model: LanguageModel

    def cloud_prefix(self, samples: Mapping[str, Any]) -> Tensor:
        """Turn a batch's clouds into the prefix of the language model: [B,P,D_llm]."""
        raise TypeError(f"{type(self).__name__} has to define cloud_prefix()")

    def caption_prompts(self, samples: Mapping[str, Any], prompt: str | None = None) -> list[str]:
        """Return the texts between the prefixes and captions; `prompt` replaces the yaml's."""
        raise TypeError(f"{type(self).__name__} has to define caption_prompts()")

    def question_prompts(self, samples: Mapping[str, Any]) -> list[str]:
        """Return the texts between the prefixes and the answers to `samples['question']`."""
        raise TypeError(f"{type(self).__name__} has to define question_prompts()")

    @torch.no_grad()
    def generate(
        self,
        samples: dict[str, Any],
        num_beams: int = 5,
        max_length: int = 30,
        min_length: int = 1,
        top_p: float | None = None,
        temperature: float | None = None,
        prompt: str | None = None,
    ) -> list[str]:
        """Caption clouds, or follow `prompt` about them.

        Args:
            samples: `point_cloud` [B,N,3|6].
            num_beams: beams; 1 is greedy.
            max_length, min_length: bounds on the new tokens.
            top_p: nucleus mass; sets sampling with one beam.
            temperature: of sampling.
            prompt: text for every cloud; None is the yaml's.
        """
        sampling: dict[str, Any] = {
            "do_sample": False,
            "top_p": None,
            "top_k": None,
            "temperature": None,
        }
        if top_p is not None:
            sampling = {"do_sample": True, "top_p": top_p, "temperature": temperature or 1.0}
            num_beams = 1
        lengths = {"max_new_tokens": max_length, "min_new_tokens": min_length}
        prompts = self.caption_prompts(samples, prompt)
        return self._write(samples, prompts, num_beams=num_beams, **lengths, **sampling)

    @torch.no_grad()
    def answer(
        self, samples: dict[str, Any], num_beams: int = 1, max_len: int = 12, min_len: int = 1
    ) -> list[str]:
        """Answer `samples['question']` about each cloud by instruction."""
        prompts = self.question_prompts(samples)
        lengths = {"max_new_tokens": max_len, "min_new_tokens": min_len}
        return self._write(samples, prompts, num_beams=num_beams, do_sample=False, **lengths)

    def _write(self, samples: dict[str, Any], prompts: list[str], **options: Any) -> list[str]:
        prefix = self.cloud_prefix(samples)
        return self.language_model.generate(prefix, prompts, batch_size=_TOGETHER, **options)


class ScoringCloudWriter(CloudWriter):
    """Adds `score_answers`, too."""

    @torch.no_grad()
    def score_answers(
        self, samples: dict[str, Any], candidates: Sequence[Sequence[str]]
    ) -> list[Tensor]:
        """Likelihood of candidate answers to `samples['question']` about each cloud.

        Returns:
            Per question [K,2] on the CPU: log-likelihood summed over the answer's tokens, and their
            number.
        """
        prefix = self.cloud_prefix(samples)
        prompts = self.question_prompts(samples)

        def score(rows: list[int], answers: list[str]) -> tuple[Tensor, Tensor]:
            texts = [f" {answer}" for answer in answers]
            own = [prompts[row] for row in rows]
            return self.language_model.log_likelihood(prefix[rows], own, texts)

        return score_candidates(score, candidates)
