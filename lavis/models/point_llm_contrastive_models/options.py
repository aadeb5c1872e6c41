"""Option values of PointLLM-Contrastive: which exist, and what they mean."""

from __future__ import annotations

from lavis.common.errors import require_choice

CHOICES = {
    "loss_type": ("generative", "contrastive"),
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
