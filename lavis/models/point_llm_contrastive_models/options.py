"""Option values of PointLLM-Contrastive: which exist, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lavis.common.errors import ConfigError
from lavis.config import option
from lavis.models.point_encoders.model_config import PointModelConfig

# Our own wording; one is drawn for each object and epoch, the first one in evaluation.
INSTRUCTIONS = (
    "Describe this 3D object in a few words.",
    "What is this object?",
    "Name the shape that these points show.",
    "Say briefly what this point cloud is.",
    "Which object do these points belong to?",
)


def check_center(loss_type: str, center_weight: float) -> None:
    """Refuse a weight of the centre term where the centre term is the whole loss.

    Raises:
        ConfigError: `loss_type: center` with a `center_weight` other than 0.
    """
    if loss_type == "center" and center_weight:
        raise ConfigError(
            "loss_type: center is the centre term alone, so it takes no weight beside it",
            where="model.center_weight",
            got=center_weight,
            expected="0",
            fix="set model.center_weight=0, or choose another model.loss_type",
        )


@dataclass(frozen=True)
class PointLLMContrastiveConfig(PointModelConfig):
    """Yaml keys; the defaults are the release's.

    Attributes:
        llm: built-in name (`smollm2-135m`), folder, or hub name.
        llm_dtype: of the frozen weights; `auto` is bfloat16 where that is native, else float32.
        llm_attention: `sdpa` or `eager`; null is transformers' choice.
        loss_type: `generative`, `contrastive`, or `center`, which is the centre term alone.
        hidden_dim: of the projector.
        projector_seed: of its initial weights; equal for all runs of a study.
        match_text_norm: start projected tokens at the mean length of word embeddings.
        negatives: of the contrastive loss: `bank` (published) or `batch`.
        memory_bank_size: entries M of the bank.
        temperature: of the contrastive loss.
        center_weight: weight of the centre term beside either loss; 0 as published.
        end_in_target: the generative loss includes the end token. Without it nothing teaches the
            model to stop.
        train_embeddings: `all` trains the whole embedding matrix beside the projector (published:
            only two rows are read, yet weight decay reaches all); `new` only the two new tokens.
        instructions: texts between the points and the target; null: `INSTRUCTIONS`.
        token_cache: folder of tokens that the point encoder wrote (token_cache.py); null encodes
            every cloud. Cached tokens are those of evaluation, so augmentation has no effect.
    """

    llm: str = "smollm2-135m"
    llm_dtype: str = "float32"
    llm_attention: str | None = None
    loss_type: str = option("generative", choices=("generative", "contrastive", "center"))
    hidden_dim: int = option(512, low=1)
    projector_seed: int = 42
    match_text_norm: bool = False
    negatives: str = option("bank", choices=("bank", "batch"))
    memory_bank_size: int = option(256, low=1)
    temperature: float = option(0.07, low=1e-6)
    center_weight: float = option(0.0, low=0)
    end_in_target: bool = False
    train_embeddings: str = option("all", choices=("all", "new"))
    instructions: Sequence[str] | None = None
    token_cache: str | None = None
