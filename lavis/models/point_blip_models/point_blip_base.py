"""What both stages share: the point encoder, the projection to the Q-Former's width, the Q-Former.

Reference: PointBLIP (github.com/zhaozh10/PointBLIP): frozen Point-BERT tokens times `pc_projection`
(384x1408) feed a BLIP-2 Q-Former, so that released BLIP-2 weights fit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lavis.common.errors import CheckpointError, ConfigError, ShapeError
from lavis.models.base_model import BaseModel
from lavis.models.contrastive.text_keys import require_texts
from lavis.models.hub import HubSystem
from lavis.models.point_blip_models.config import BackboneConfig
from lavis.models.point_encoders import build_point_encoder, encode_batch, freeze
from lavis.models.point_encoders.checkpoint_io import load_encoder_checkpoint
from lavis.models.point_encoders.object_size import SizeToken, box_sizes
from lavis.models.position_encoding import encode_xyz
from lavis.models.qformer.init import (
    init_from_bert,
    load_text_tokenizer,
    qformer_config_from_bert,
)
from lavis.models.qformer.qformer import Cloud, QFormer, scaled_std
from lavis.models.weights.files import weights_file
from lavis.models.weights.parts import require_parts
from lavis.models.weights.released import read_released

PADDED_TOKENS = "clouds with different numbers of tokens cannot be used here"


class PointBlipBase(HubSystem, BaseModel):
    """Encode clouds and hold the Q-Former.

    Args:
        config: keys of both stages.
        with_text: keep the Q-Former's text half, or drop it.
        with_lm_head: keep the head of that half, which writes captions (stage 1).
    """

    tokenizer: Any  # of the Q-Former's text half; None without one
    max_txt_len: int = 128  # longest text in tokens that the Q-Former reads; longer ones are cut

    def __init__(
        self,
        config: BackboneConfig,
        with_text: bool = True,
        with_lm_head: bool = True,
    ) -> None:
        super().__init__()
        self._found: set[str] = set()  # names that checkpoints brought
        self._encoder_has_file = bool(config.point_encoder_weights)
        self.point_encoder = build_point_encoder(config.point_encoder)
        if config.point_encoder_weights:
            path = weights_file(config.point_encoder_weights, "model.point_encoder_weights")
            load_encoder_checkpoint(self.point_encoder, path)
        if config.freeze_point_encoder:
            freeze(self.point_encoder)
        self.use_class_token = config.use_class_token
        self.xyz_encoding = config.xyz_encoding
        token_width, width = self.point_encoder.embed_dim, config.qformer_width
        self.size_token = SizeToken(token_width) if config.use_size_token else None
        # Attention can average tokens, and no query can read the maximum that encoders end with.
        self.pooled_norm = nn.LayerNorm(token_width) if config.use_pooled_token else None
        if width is None:
            self.pc_projection = None
        else:
            self.pc_projection = nn.Parameter(torch.randn(token_width, width) * scaled_std(width))
        self.tokenizer = load_text_tokenizer(config.qformer_bert) if with_text else None
        qformer_config = qformer_config_from_bert(
            config.qformer_bert,
            dropout=config.qformer_dropout,
            vocab_size=len(self.tokenizer) if self.tokenizer else 0,
            num_query_token=config.num_query_token,
            cross_attention_freq=config.cross_attention_freq,
            encoder_width=width or token_width,
            with_text=with_text,
            with_lm_head=with_lm_head,
            checkpoint_layers=config.checkpoint_qformer,
        )
        self.qformer = QFormer(qformer_config)
        init_from_bert(self.qformer, config.qformer_bert)

    def encode_cloud(self, samples: Mapping[str, Any]) -> Tensor:
        """Turn clouds into the tokens that the queries read, projected: [B,G,qformer_width]."""
        tokens = self.point_tokens(samples)
        return tokens if self.pc_projection is None else tokens @ self.pc_projection

    def project_cloud(self, point_tokens: Tensor, token_mask: Tensor | None = None) -> Cloud:
        """Compute the Q-Former's keys/values of `point_tokens`; the projection is folded into them.

        `token_mask` bool [B,G] is true where a token is real; None when all are.
        """
        return self.qformer.project_cloud(point_tokens, self.pc_projection, token_mask)

    def read_cloud(self, samples: Mapping[str, Any]) -> Cloud:
        """Encode objects as the keys/values that the queries read (see `point_tokens`)."""
        point_tokens = self.point_tokens(samples)
        return self.project_cloud(point_tokens, self.token_mask(samples))

    def token_mask(self, samples: Mapping[str, Any]) -> Tensor | None:
        """Return which of `point_tokens` are real: bool [B,G], or None when all are."""
        mask = self._group_mask(samples)
        if mask is None:
            return None
        # The class token comes first, pooled and size token last; all are always real.
        behind = int(self.pooled_norm is not None) + int(self.size_token is not None)
        return F.pad(mask, (int(self.use_class_token), behind), value=True)

    def _group_mask(self, samples: Mapping[str, Any]) -> Tensor | None:
        """Return which group tokens of the encoder are real: bool [B,G], or None when all are."""
        lengths = samples.get("lengths")
        if lengths is None:
            return None
        num_points = samples["point_cloud"].shape[1]
        return self.point_encoder.token_mask(lengths.to(self.device), num_points)

    def refuse_padded_tokens(self, samples: Mapping[str, Any]) -> None:
        """Raise ConfigError when clouds of this batch have different numbers of tokens."""
        if self.token_mask(samples) is not None:
            raise ConfigError(
                PADDED_TOKENS,
                where="model.point_encoder.name",
                got=f"{type(self.point_encoder).__name__}, a token for every point",
                expected="an encoder with a fixed number of tokens, or clouds of one size",
            )

    def point_tokens(self, samples: Mapping[str, Any]) -> Tensor:
        """Encode objects, before the projection.

        Args:
            samples: `point_cloud` [B,N,3|6], xyz in the unit sphere, rgb in [0,1]; `lengths` Long
                [B] when the clouds are padded; with a size token `box_size` [B,3], too.

        Returns:
            Point tokens [B,G,D]; with a class token that first, with a pooled token that behind
            the groups, with a size token that last.

        Raises:
            ShapeError: when the input is not a batch of clouds.
            ConfigError: the model reads sizes, and the samples have none.
        """
        tokens = self.add_pooled(self.encode_points(samples), samples)
        return self.add_size(tokens, samples)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turn texts into the Q-Former's ids and mask [B,T], T the longest of the batch.

        Raises:
            DataError: a text is empty.
        """
        tokens = self.tokenizer(
            require_texts(texts),
            padding="longest",
            truncation=True,
            max_length=self.max_txt_len,
            return_tensors="pt",
        )
        return tokens.input_ids.to(self.device), tokens.attention_mask.to(self.device)

    @property
    def encoder_is_frozen(self) -> bool:
        """Whether no weight of the point encoder is trained."""
        return not any(p.requires_grad for p in self.point_encoder.parameters())

    def encode_points(self, samples: Mapping[str, Any]) -> Tensor:
        """Encode a batch's clouds, without gradient when the encoder is frozen: [B,G,D].

        Raises:
            ShapeError: when the input is not a batch of clouds.
            ConfigError: padded clouds, and the encoder does not take lengths.
        """
        point_cloud = samples["point_cloud"]
        if point_cloud.ndim != 3 or point_cloud.shape[-1] not in (3, 6):
            raise ShapeError(
                "point_cloud has a wrong shape",
                where="samples['point_cloud']",
                got=tuple(point_cloud.shape),
                expected="[B,N,3] or [B,N,6]",
                fix="check the data set's processors",
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_is_frozen):
            return self.read_tokens(point_cloud.to(self.device), samples.get("lengths"))

    def add_pooled(self, tokens: Tensor, samples: Mapping[str, Any]) -> Tensor:
        """Put the maximum over the groups behind tokens [B,G,D], where the model reads it."""
        if self.pooled_norm is None:
            return tokens
        groups, mask = tokens[:, int(self.use_class_token) :], self._group_mask(samples)
        if mask is not None:
            groups = groups.masked_fill(~mask[..., None], -torch.inf)
        pooled = self.pooled_norm(groups.amax(1))  # [B,D]
        return torch.cat([tokens, pooled[:, None].to(tokens.dtype)], dim=1)

    def add_size(self, tokens: Tensor, samples: Mapping[str, Any]) -> Tensor:
        """Put the size token of a batch's objects behind tokens [B,G,D], where there is one."""
        if self.size_token is None:
            return tokens
        box_size = box_sizes(samples, "model.use_size_token").to(self.device)
        size = self.size_token(box_size)  # [B,D]
        return torch.cat([tokens, size[:, None].to(tokens.dtype)], dim=1)

    def read_tokens(self, point_cloud: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the encoder's tokens [B,G,D], after its class token when that is used."""
        samples = {"point_cloud": point_cloud, "lengths": lengths}
        encoded = encode_batch(self.point_encoder, samples)
        tokens = encoded.tokens
        if self.xyz_encoding:
            tokens = tokens + encode_xyz(encoded.centers, tokens.shape[-1]).to(tokens.dtype)
        if not self.use_class_token:
            return tokens
        if encoded.cls_token is None:
            raise ConfigError(
                "the point encoder has no class token",
                where="model.use_class_token",
                got=type(self.point_encoder).__name__,
                expected="an encoder with a class token, or use_class_token: False",
            )
        return torch.cat([encoded.cls_token[:, None], tokens], dim=1)

    def load_weights(self, section: Mapping[str, Any]) -> None:
        """Load what the yaml names: `pretrained` first, then `finetuned` over it.

        A stage's checkpoint leaves out what the stage kept frozen, so evaluating stage 2 names the
        stage-1 checkpoint as `pretrained` and its own as `finetuned`.
        """
        named = [key for key in ("pretrained", "finetuned") if section.get(key)]
        for key in named:
            path = weights_file(section[key], f"model.{key}")
            self.load_from_pretrained(str(path), key=f"model.{key}")
        if named:
            require_parts(self, self._found, section.get("may_start_fresh") or ())
        if section.get("finetuned") or (self.encoder_is_frozen and section.get("pretrained")):
            self._require_encoder_weights()

    def load_checkpoint(self, url_or_filename: str) -> None:
        """Load a file that holds every part of this model (LAVIS' `load_checkpoint`).

        Raises:
            CheckpointError: a part finds nothing in it; see also `load_from_pretrained`.
        """
        self.load_from_pretrained(url_or_filename, key="checkpoint")
        require_parts(self, self._found, ())
        self._require_encoder_weights()

    def _require_encoder_weights(self) -> None:
        """Refuse an encoder with random weights: checkpoints do not contain a frozen encoder."""
        prefix, end = "point_encoder.", ".weight"
        loaded = any(n.startswith(prefix) and n.endswith(end) for n in self._found)
        if not (self._encoder_has_file or loaded):
            raise CheckpointError(
                "the point encoder would keep random weights",
                where="model.point_encoder_weights",
                got="null, and the named checkpoints hold no encoder",
                expected="the file that the training recipe named",
                fix="copy point_encoder_weights from that recipe",
            )

    def load_from_pretrained(
        self, url_or_filename: str, key: str = "model.pretrained", **kwargs: Any
    ) -> None:
        """Load a checkpoint of ours, or a release: PointBLIP's, BLIP-2's (LAVIS or transformers).

        Args:
            url_or_filename: `.pth` or `.safetensors` on this machine.
            key: the yaml key that named it, for messages.

        Raises:
            CheckpointError: when nothing in the file fits, or a shape differs.
        """
        own = self.state_dict()
        state = read_released(url_or_filename, own, key)
        # An empty buffer takes the size of the checkpoint's (retrieved_texts.py).
        fits = {
            n: own[n].shape == t.shape or not own[n].numel() for n, t in state.items() if n in own
        }
        fitting = {n: state[n] for n, fit in fits.items() if fit}
        misfits = [n for n, fit in fits.items() if not fit]
        if misfits or not fitting:
            raise CheckpointError(
                "the checkpoint does not fit this model",
                where=f"{key}: {url_or_filename}",
                got=f"{len(fitting)} fitting tensors, other shapes for {misfits[:5]}",
                expected="a checkpoint of the same encoder and Q-Former sizes",
                fix="use the model_type that the checkpoint was trained with",
            )
        self.load_state_dict(fitting, strict=False)
        self.loaded_checkpoint = str(url_or_filename)
        self._found |= fitting.keys()
        # The encoder's own file, or an earlier checkpoint, may have had them.
        loaded = [n for n in own if self._encoder_has_file and n.startswith("point_encoder.")]
        missing = sorted(own.keys() - self._found - set(loaded))
        unused = sorted(state.keys() - fitting.keys())
        logging.info(
            "Loaded %d tensors from %s; %d start fresh %s; %d not used %s",
            *(len(fitting), url_or_filename, len(missing), missing[:4], len(unused), unused[:4]),
        )
