"""Configurations of components: frozen dataclasses that a yaml states differences from."""

from lavis.config.component import ComponentConfig, ModelConfig, option

__all__ = ["ComponentConfig", "ModelConfig", "option"]
