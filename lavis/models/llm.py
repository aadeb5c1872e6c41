"""Former place of `lavis/models/language/llm.py`, kept for scripts that import from it."""

from lavis.models.language.llm import LanguageModel, LoraOptions, pack

__all__ = ["LanguageModel", "LoraOptions", "pack"]
