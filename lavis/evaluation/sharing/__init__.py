"""Export a trained run as a Hugging Face folder with a card of its scores."""

from lavis.evaluation.sharing.export import main

__all__ = ["main"]
