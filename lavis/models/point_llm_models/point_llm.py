"""Point-LLM: a language model follows instructions about points, trained on images alone.

Point-Bind & Point-LLM, arXiv 2309.00615. A frozen model of a joint space embeds points, images and
audio alike. A bind network turns the embedding into one vector, which a frozen language model reads
in every layer through zero-initialised gates. It is trained on images and texts; points arrive by
the joint space. The visual cache moves a point's embedding towards the images of training.

Differs from the release, which has no training code: the language model is any of transformers'
Llama family; the joint model is a registered one, by name; the visual cache mixes every item of a
batch with its own neighbours alone (the release mixes items); weights of several inputs sum to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError, ConfigError
from lavis.common.precision import resolve_dtype
from lavis.common.registry import registry
from lavis.common.utils import get_abs_path
from lavis.config.sources import load_yaml, merge
from lavis.models.abilities import (
    Answerer,
    AnswerScorer,
    Captioner,
    Embedder,
    JointEmbedder,
    check_abilities,
)
from lavis.models.base_model import BaseModel
from lavis.models.hub import HubSystem
from lavis.models.language.cloud_writer import ScoringCloudWriter
from lavis.models.language.gated_llm import GatedLanguageModel
from lavis.models.point_llm_models.bind_network import BindNetwork
from lavis.models.point_llm_models.config import PointLLMConfig
from lavis.models.point_llm_models.prompts import instruction_prompt
from lavis.models.point_llm_models.releases import released_state
from lavis.models.point_llm_models.visual_cache import VisualCache, load_cache
from lavis.models.teachers import check_trained_space
from lavis.models.weights.own import load_own_checkpoints
from lavis.stock import registered

FIRST_PHASE = ("bind_network.", "language_model.gates", "language_model.prefix.")


@registry.register_model("point_llm")
class PointLLM(ScoringCloudWriter, HubSystem, BaseModel):
    """A language model behind the joint space of a frozen model.

    Args:
        config: see `PointLLMConfig`.
        joint: the frozen model of the joint space.

    Raises:
        ConfigError: a modality that the joint model does not embed, or a language model whose
            layers cannot read prefixes.
    """

    abilities = (Embedder, Captioner, Answerer, AnswerScorer)
    modalities: tuple[str, ...] = ("point", "image", "text", "audio")  # of the joint model
    config_class = PointLLMConfig
    PRETRAINED_MODEL_CONFIG_DICT = {  # noqa: RUF012 (the LAVIS convention)
        "bricks": "configs/models/point_llm/point_llm_bricks.yaml",
        "furniture_bricks": "configs/models/point_llm/point_llm_furniture_bricks.yaml",
        "llama7b": "configs/models/point_llm/point_llm_llama7b.yaml",
    }

    def __init__(self, config: PointLLMConfig, joint: Any) -> None:
        super().__init__()
        self.config = config
        check_abilities(joint, {JointEmbedder: "model.joint"}, "point_llm")
        self.joint = joint.requires_grad_(False).eval()
        self.modalities = joint.modalities
        self.train_inputs = self._inputs("train_inputs", config.train_inputs)
        self.inputs = self._inputs("inputs", config.inputs, config.input_shares)
        self.language_model = GatedLanguageModel(
            config.llm,
            config.phase,
            config.prefix_length,
            config.lora_rank,
            resolve_dtype(config.llm_dtype),
        )
        self.bind_network = BindNetwork(
            joint.config.embed_dim,
            self.language_model.hidden_size,
            config.bind_expansion,
            config.bind_blocks,
            config.legacy_bridge,
        )
        self.bind_network.requires_grad_(config.phase == "pretrain")
        self.cache: VisualCache | None = self._load_cache()

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> Self:
        """Build from the `model` section (`PointLLMConfig`)."""
        config = cls.config_class.read(cfg)
        model = cls(config, build_joint(config.joint))
        if config.released:
            model.load_released(get_abs_path(config.released))
        if config.phase == "finetune" and config.pretrained:
            model.load_first_phase(get_abs_path(config.pretrained))
            load_own_checkpoints(model, {"finetuned": config.finetuned})
        else:
            load_own_checkpoints(model, cfg)
        return model

    def _inputs(
        self, key: str, names: Sequence[str], weights: Sequence[float] = ()
    ) -> dict[str, float]:
        """Return the share of each modality; shares sum to one."""
        shares = [float(weight) for weight in weights or [1.0] * len(names)]
        known = set(names) <= set(self.modalities) and len(set(names)) == len(shares) > 0
        if not known or min(shares) < 0 or not sum(shares):
            what = "the inputs need modalities of the joint model, each with a weight from 0"
            got, expected = f"{list(names)} with weights {shares}", list(self.modalities)
            raise ConfigError(what, where=f"model.{key}", got=got, expected=expected)
        return {name: share / sum(shares) for name, share in zip(names, shares)}

    def _load_cache(self) -> VisualCache | None:
        config = self.config
        if config.cache is None:
            return None
        options = (config.cache_size, config.cache_sharpness, config.cache_weight)
        return load_cache(Path(get_abs_path(config.cache)), self.space, *options)

    @property
    def space(self) -> str | None:
        """The joint space, stored in checkpoints."""
        return self.joint.space

    def train(self, mode: bool = True) -> PointLLM:
        """Follow the mode except for the frozen joint model."""
        super().train(mode)
        self.joint.eval()
        return self

    def load_released(self, path: str) -> None:
        """Load a file of the release; parts that it lacks keep their values.

        Raises:
            CheckpointError: unreadable, or of another language model.
        """
        key = "model.released"
        payload = load_checkpoint_file(path, key)
        adapted = self.language_model.has_lora
        heads = self.language_model.model.config.num_attention_heads
        state = released_state(payload.get("model", payload), heads, adapted)
        own = self.state_dict()
        wrong = [n for n, t in state.items() if n not in own or own[n].shape != t.shape]
        if wrong:
            what, where = "the release is of another language model", f"{key}: {path}"
            raise CheckpointError(what, where=where, got=wrong[:3])
        self.load_state_dict(state, strict=False)

    def load_first_phase(self, path: str) -> None:
        """Load what the first phase trained, which the second keeps frozen.

        Raises:
            CheckpointError: damaged, not of the first phase, or trained in another space.
        """
        key, where = "model.pretrained", f"model.pretrained: {path}"
        payload = load_checkpoint_file(path, key)
        check_trained_space(payload, self.space, where)
        own, state = self.state_dict(), payload.get("model", payload)
        # Buffers of the joint model are in its own checkpoint, too.
        state = {name: t for name, t in state.items() if not name.startswith("joint.")}
        needed = {name for name in own if name.startswith(FIRST_PHASE)}
        differ = needed ^ set(state)
        differ |= {name for name in needed & set(state) if own[name].shape != state[name].shape}
        if differ:
            what, expected = "not a checkpoint of phase pretrain", f"{sorted(needed)[:3]} …"
            got = f"absent, unknown or of another shape: {sorted(differ)[:3]}"
            raise CheckpointError(what, where=where, got=got, expected=expected)
        self.load_state_dict(state, strict=False)

    def forward(self, samples: dict[str, Any]) -> dict[str, Tensor]:
        """Score captions, or answers where the batch has questions.

        Args:
            samples: what the modalities of `train_inputs` are embedded from (`image_embeds`
                [B,V,E] …), and either `text_input` (captions), or `question` and `answer`.

        Returns:
            `loss`: mean cross-entropy of the target tokens.
        """
        vectors = self.vectors(samples, self.train_inputs)
        if "question" in samples:
            prompts, targets = self.question_prompts(samples), samples["answer"]
        else:
            prompts, targets = self.caption_prompts(samples), samples["text_input"]
        loss = self.language_model.loss(vectors, prompts, [f" {target}" for target in targets])
        return {"loss": loss}

    def vectors(self, samples: Mapping[str, Any], inputs: Mapping[str, float]) -> Tensor:
        """Return what every layer reads of a batch [B,1,D_llm]."""
        return self.bind_network(self.mixed(samples, inputs))

    @torch.no_grad()
    def mixed(self, samples: Mapping[str, Any], inputs: Mapping[str, float]) -> Tensor:
        """Embed modalities and mix them by their shares [B,E]; not of unit length, as published.

        In evaluation the visual cache, where there is one, moves the mixture; that is unit.
        """
        parts = [share * self.embed(samples, name) for name, share in inputs.items()]
        embeds = torch.stack(parts).sum(0)
        if self.cache is None or self.training:
            return embeds
        return self.cache(embeds)

    @torch.no_grad()
    def embed(self, samples: Mapping[str, Any], modality: str) -> Tensor:
        """Return the joint model's unit embeddings [B,E]."""
        return F.normalize(self.joint.embed(samples, modality).float(), dim=-1)

    def cloud_prefix(self, samples: Mapping[str, Any]) -> Tensor:
        """Return the vectors of `model.inputs` [B,1,D_llm]."""
        return self.vectors(samples, self.inputs)

    def caption_prompts(self, samples: Mapping[str, Any], prompt: str | None = None) -> list[str]:
        """Return the instruction `prompt`, or the yaml's, for each item."""
        text = instruction_prompt(prompt or self.config.prompt, self.config.template)
        return [text] * len(samples["instance_id"])

    def question_prompts(self, samples: Mapping[str, Any]) -> list[str]:
        """Return questions as instructions."""
        return [instruction_prompt(q, self.config.template) for q in samples["question"]]

    @torch.no_grad()
    def reply(
        self,
        samples: Mapping[str, Any],
        inputs: Mapping[str, float],
        instruction: str,
        turns: Sequence[tuple[str, str]] = (),
        max_new_tokens: int = 48,
        **options: Any,
    ) -> list[str]:
        """Follow an instruction about each item, in a dialogue.

        Args:
            samples: a batch with what `inputs` are embedded from.
            inputs: weight of each modality; they are mixed in proportion.
            instruction: what is asked now.
            turns: (instruction, response) so far.
            max_new_tokens: longest response.
            options: of transformers' `generate`.

        Raises:
            ConfigError: a modality that the joint model lacks, or a weight below 0.
        """
        shares = self._inputs("inputs", list(inputs), list(inputs.values()))
        vectors = self.vectors(samples, shares)
        prompts = [instruction_prompt(instruction, self.config.template, turns)] * len(vectors)
        return self.language_model.generate(vectors, prompts, max_new_tokens, **options)


def build_joint(section: Mapping[str, Any] | None) -> Any:
    """Build the model of a joint space from `{arch, model_type, …}`.

    Raises:
        ConfigError: no such arch or type, or an unknown key.
    """
    given = dict(section or {})
    model_class = registered("model", str(given.get("arch")))
    types = model_class.PRETRAINED_MODEL_CONFIG_DICT
    if given.get("model_type") not in types:
        what, got = "the joint model needs one of its types", given.get("model_type")
        where, expected = "model.joint.model_type", f"one of {sorted(types)}"
        raise ConfigError(what, where=where, got=got, expected=expected)
    path = model_class.default_config_path(given["model_type"])
    return model_class.from_config(merge(load_yaml(path, "model.joint").model, given))
