"""Option values of PointLLM-Contrastive: which exist, and what they mean."""

from __future__ import annotations

from lavis.common.errors import ConfigError, explain, require_choice

CHOICES = {
    "loss_type": ("generative", "contrastive", "center"),
    "negatives": ("bank", "batch"),
    "train_embeddings": ("all", "new"),
}
# Our own wording; one is drawn for each object and epoch, the first one in evaluation.
INSTRUCTIONS = (
    "Describe this 3D object in a few words.",
    "What is this object?",
    "Name the shape that these points show.",
    "Say briefly what this point cloud is.",
    "Which object do these points belong to?",
)


def check_choices(loss_type: str, negatives: str, train_embeddings: str) -> None:
    """Refuse option values that do not exist, by yaml key and with the nearest that does."""
    given = {
        "loss_type": loss_type,
        "negatives": negatives,
        "train_embeddings": train_embeddings,
    }
    for key, value in given.items():
        require_choice(key, value, CHOICES[key], f"model.{key}")


def check_center(loss_type: str, center_weight: float) -> None:
    """Refuse a weight of the centre term where the centre term is the whole loss.

    Raises:
        ConfigError: `loss_type: center` with a `center_weight` other than 0.
    """
    if loss_type == "center" and center_weight:
        raise ConfigError(
            explain(
                "loss_type: center is the centre term alone, so it takes no weight beside it",
                where="model.center_weight",
                got=center_weight,
                expected="0",
                fix="set model.center_weight=0, or choose another model.loss_type",
            )
        )
