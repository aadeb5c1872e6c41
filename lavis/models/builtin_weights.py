"""Former place of `lavis/models/weights/builtin.py`, kept for scripts that import from it."""

from lavis.models.weights.builtin import prepare_smollm2, reading_pretrained, resolve_pretrained

__all__ = ["prepare_smollm2", "reading_pretrained", "resolve_pretrained"]
