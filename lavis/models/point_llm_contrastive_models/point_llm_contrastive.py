"""PointLLM-Contrastive: does a generative or a contrastive loss align points with a language model?

A frozen Point-BERT (class token and group tokens) is projected among the word embeddings of a
frozen language model. `generative` trains the projector to let the model write the text;
`contrastive` pulls the mean projected token towards the mean word embedding of the text; `center`
moves the objects' centroid to that of the texts without knowing any pair, as a control.

Source: github.com/amine-maazizi/PointLLM-Contrastive. Its behaviour is the default of the class;
options of ours are `match_text_norm`, `negatives: batch`, `end_in_target`, `loss_type: center`,
`token_cache` and `train_embeddings: new`. What differs in any case: a batch is one pass, its tokens
count alike (the release loops over items; with its batch size of one both are the same).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.precision import resolve_dtype
from lavis.common.registry import registry
from lavis.common.utils import get_abs_path
from lavis.models.abilities import (
    Answerer,
    Captioner,
    JointEmbedder,
    WordEmbedder,
    check_modality,
)
from lavis.models.base_model import BaseModel
from lavis.models.contrastive import full_precision
from lavis.models.contrastive.grad_cache import Encoded, whole_batch
from lavis.models.contrastive.text_keys import require_texts
from lavis.models.hub import HubSystem
from lavis.models.language.cloud_writer import CloudWriter
from lavis.models.point_encoders import (
    build_point_encoder,
    encode_batch,
    freeze,
    load_encoder_checkpoint,
)
from lavis.models.point_llm_contrastive_models.aligned_llm import (
    AlignedLanguageModel,
    load_aligned_llm,
)
from lavis.models.point_llm_contrastive_models.checkpoints import (
    load_projector,
    save_initial_projector,
)
from lavis.models.point_llm_contrastive_models.contrast import MemoryBank, batch_contrast
from lavis.models.point_llm_contrastive_models.options import (
    INSTRUCTIONS,
    PointLLMContrastiveConfig,
    check_center,
)
from lavis.models.point_llm_contrastive_models.projector import TokenProjector
from lavis.models.point_llm_contrastive_models.token_cache import TokenCache, encoder_identity


@registry.register_model("point_llm_contrastive")
class PointLLMContrastive(CloudWriter, HubSystem, BaseModel):
    """A projector between a frozen point encoder and a frozen language model.

    Args:
        config: yaml keys.
    """

    language_model: AlignedLanguageModel

    abilities = (JointEmbedder, WordEmbedder, Captioner, Answerer)
    modalities = ("point", "text")
    config_class = PointLLMContrastiveConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "smollm2-135m": "configs/models/point_llm_contrastive/smollm2-135m.yaml",
        "tinyllama-1.1b": "configs/models/point_llm_contrastive/tinyllama-1.1b.yaml",
        "pythia-1b": "configs/models/point_llm_contrastive/pythia-1b.yaml",
        "gpt-neo-1.3b": "configs/models/point_llm_contrastive/gpt-neo-1.3b.yaml",
    }

    def __init__(self, config: PointLLMContrastiveConfig) -> None:
        super().__init__()
        check_center(config.loss_type, config.center_weight)
        dtype, seed = resolve_dtype(config.llm_dtype), config.projector_seed
        self.trained_steps: int | None = None
        self.loss_type, self.temperature = config.loss_type, config.temperature
        self.center_weight = config.center_weight
        self.llm_name, self.projector_seed = config.llm, seed
        self.instructions = list(config.instructions or INSTRUCTIONS)
        self.point_encoder = build_point_encoder(config.point_encoder)
        if config.point_encoder_weights:
            path = get_abs_path(config.point_encoder_weights)
            load_encoder_checkpoint(self.point_encoder, path)
        freeze(self.point_encoder)
        self.token_cache: TokenCache | None = None
        if config.token_cache:
            identity = encoder_identity(self.point_encoder)
            self.token_cache = TokenCache(get_abs_path(config.token_cache), identity)
        self.language_model = load_aligned_llm(
            config.llm, dtype, config.end_in_target, config.llm_attention
        )
        width = self.language_model.hidden_size
        table = self.language_model.embedding_table()
        text_norm = float(table.float().norm(dim=-1).mean()) if config.match_text_norm else None
        self.projector = TokenProjector(
            self.point_encoder.embed_dim, width, config.hidden_dim, text_norm, seed
        )
        self.memory_bank: MemoryBank | None = None
        if config.loss_type == "contrastive" and config.negatives == "bank":
            self.memory_bank = MemoryBank(config.memory_bank_size, width, seed)
        self._prepare_boundaries(config.train_embeddings, config.loss_type == "generative")

    def _prepare_boundaries(self, train_embeddings: str, trained: bool) -> None:
        """Set up `<p_start>` and `<p_end>`; only the generative loss reads them."""
        if train_embeddings == "all":
            self._boundary_ids = self.language_model.add_boundary_tokens()
            self.boundary_tokens = None
            embeddings = self.language_model.model.get_input_embeddings()
            embeddings.requires_grad_(trained)
        else:
            end = self.language_model.end_embedding().float()
            self.boundary_tokens = nn.Parameter(end.repeat(2, 1), requires_grad=trained)  # [2,D]

    def load_weights(self, section: Mapping[str, Any]) -> None:
        """Load projectors: `pretrained`, then `finetuned`."""
        for key in ("pretrained", "finetuned"):
            if section.get(key):
                load_projector(self, get_abs_path(section[key]), key=f"model.{key}")

    def save_initial_weights(self, folder: str | Path) -> Path:
        """Write the projector of this moment to `initial_projector_weights.pth` in a folder."""
        return save_initial_projector(self, folder)

    def forward(self, samples: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the loss that the yaml chose.

        Args:
            samples: `point_cloud` [B,N,3|6] and either `text_input`, B texts, or `question` and
                `answer`, which only the generative loss can learn from.

        Returns:
            `loss` (the sum), `loss_generative`, `loss_contrastive` or `loss_center`, and with
            `center_weight` `loss_center` beside the first two.
        """
        if self.contrasts:
            return whole_batch(self, samples)
        asks = self.loss_type == "generative" and "question" in samples
        texts = require_texts(samples["answer" if asks else "text_input"])
        projected = self.project(samples)  # [B,1+G,D]
        if self.loss_type == "generative":
            prompts = list(samples["question"]) if asks else self.draw_instructions(samples)
            losses = {"loss_generative": self.generative_loss(projected, prompts, texts)}
        else:
            losses = {"loss_center": self.center_loss(projected, texts)}
        if self.center_weight:
            losses["loss_center"] = self.center_loss(projected, texts)
        return losses | {"loss": self.total(losses)}

    @property
    def contrasts(self) -> bool:
        """Whether the loss contrasts the items of a batch."""
        return self.loss_type == "contrastive"

    def encode(self, samples: Mapping[str, Any]) -> Encoded:
        """Encode a batch: unit means of projected tokens and of word embeddings [B,D]."""
        projected = self.project(samples)  # [B,1+G,D]
        points = F.normalize(full_precision(projected.mean(1)), dim=-1)
        words = F.normalize(self.mean_words(require_texts(samples["text_input"])), dim=-1)
        return Encoded({"points": points, "words": words}, projected)

    def contrast(
        self, embeds: Mapping[str, Tensor], samples: Mapping[str, Any], rows: int | None = None
    ) -> dict[str, Tensor]:
        """InfoNCE of `encode`'s embeddings: with the bank, or within the batch."""
        points, words = embeds["points"], embeds["words"]
        if self.memory_bank is not None:
            loss = self.memory_bank.contrast(points, words, self.temperature)
        else:
            texts = list(samples["text_input"])
            loss = batch_contrast(points, words, texts, self.temperature, rows)
        return {"loss_contrastive": loss}

    def other_losses(self, encoded: Encoded, samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """The centre term, where it has a weight."""
        if not self.center_weight:
            return {}
        return {"loss_center": self.center_loss(encoded.rest, list(samples["text_input"]))}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of losses, the centre term beside another one with its weight."""
        beside = self.loss_type != "center"
        weights = {"loss_center": self.center_weight if beside else 1.0}
        return torch.stack([weights.get(n, 1.0) * value for n, value in losses.items()]).sum()

    def generative_loss(
        self, projected: Tensor, instructions: Sequence[str], texts: Sequence[str]
    ) -> Tensor:
        """Next-token cross-entropy of the texts behind [p_start, points, p_end, instruction]."""
        prefix = self.add_boundaries(projected)
        return self.language_model.loss(prefix, instructions, [f" {text}" for text in texts])

    def center_loss(self, projected: Tensor, texts: list[str]) -> Tensor:
        """Squared distance of the batch' centroids, over the mean squared length of its texts.

        Neither loss sees where the words as a whole lie (within a batch InfoNCE cancels what all
        texts share) nor how long they are. This term sees only that: it does not know which text
        belongs to which object, so what the losses teach of objects stays theirs.
        """
        words = self.mean_words(texts)  # [B,D]
        distance = (projected.mean((0, 1)).float() - words.mean(0)).square().sum()
        return distance / words.square().sum(-1).mean()

    def project(self, samples: Mapping[str, Any]) -> Tensor:
        """Encode and project clouds: [B,1+G,D], the class token first."""
        return self.projector(self.point_tokens(samples))

    @torch.no_grad()
    def point_tokens(self, samples: Mapping[str, Any]) -> Tensor:
        """Encode clouds, or look their tokens up: float32 [B,1+G,C], the class token first."""
        if self.token_cache is not None:
            return self.token_cache.tokens(samples).to(self.device)
        encoded = encode_batch(self.point_encoder, samples, self.device, fixed_tokens=True)
        first = [] if encoded.cls_token is None else [encoded.cls_token[:, None]]
        return full_precision(torch.cat([*first, encoded.tokens], 1))

    def cloud_prefix(self, samples: Mapping[str, Any]) -> Tensor:
        """Encode and project clouds, with the boundary tokens around: [B,3+G,D]."""
        return self.add_boundaries(self.project(samples))

    def caption_prompts(self, samples: Mapping[str, Any], prompt: str | None = None) -> list[str]:
        """Return `prompt`, or the first instruction of the yaml, for every cloud."""
        text = self.instructions[0] if prompt is None else prompt.rstrip(" ")
        return [text] * len(samples["point_cloud"])

    def question_prompts(self, samples: Mapping[str, Any]) -> list[str]:
        """Return the questions: they are the instructions."""
        return list(samples["question"])

    def add_boundaries(self, projected: Tensor) -> Tensor:
        """Put the boundary tokens around projected tokens: [B,1+G,D] -> [B,3+G,D]."""
        if self.boundary_tokens is None:
            table = self.language_model.model.get_input_embeddings().weight
            start, end = table[self._boundary_ids].float()
        else:
            start, end = self.boundary_tokens
        shape = (len(projected), 1, -1)
        return torch.cat([start.expand(*shape), projected, end.expand(*shape)], 1)

    @torch.no_grad()
    def set_boundaries(self, rows: Tensor) -> None:
        """Replace the embeddings of `<p_start>` and `<p_end>` by rows [2,D]."""
        if self.boundary_tokens is None:
            table = self.language_model.embedding_table()
            table[self._boundary_ids] = rows.to(table)
        else:
            self.boundary_tokens.copy_(rows)

    def draw_instructions(self, samples: dict[str, Any]) -> list[str]:
        """Choose each object's instruction by its id and the epoch; the first in evaluation."""
        texts = samples["text_input"]
        if not (self.training and "epoch" in samples):
            return self.instructions[:1] * len(texts)
        ids = samples.get("instance_id", texts)
        draws = (zlib.crc32(f"{samples['epoch']}:{i}".encode()) for i in ids)
        return [self.instructions[draw % len(self.instructions)] for draw in draws]

    @torch.no_grad()
    def embed(self, samples: Mapping[str, Any], modality: str) -> Tensor:
        """Return unit embeddings [B,D]: mean projected tokens, or mean word embeddings."""
        check_modality(self, modality)
        if modality == "text":
            return self.embed_texts(samples["text_input"])
        return F.normalize(self.mean_tokens(samples), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit mean word embeddings [B,D]."""
        return F.normalize(self.mean_words(require_texts(texts)), dim=-1)

    @torch.no_grad()
    def mean_words(self, texts: Sequence[str]) -> Tensor:
        """Average the word embeddings of texts: float32 [B,D]."""
        words, mask = self.language_model.text_tokens(texts)
        weights = mask[..., None].to(words.dtype)
        return (words * weights).sum(1) / weights.sum(1)

    @torch.no_grad()
    def mean_tokens(self, samples: Mapping[str, Any]) -> Tensor:
        """Average the projected tokens of clouds: float32 [B,D]."""
        return self.project(samples).mean(1).float()

    @torch.no_grad()
    def embed_words(self, samples: Mapping[str, Any]) -> dict[str, Any]:
        """Embed a batch for the task `alignment_study`.

        Returns:
            `points` and `texts` [B,D], not normalised, and `words`: for each text the [T,D]
            embeddings of its tokens (the release measures distances to those).
        """
        texts = require_texts(samples["text_input"])
        words, mask = self.language_model.text_tokens(texts)
        return {
            "points": self.mean_tokens(samples),
            "texts": self.mean_words(texts),
            "words": [row[: int(length)] for row, length in zip(words, mask.sum(1))],
        }
