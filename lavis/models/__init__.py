"""Models by name. A new model is one new file and one import line below."""

from pkgutil import extend_path
from typing import Any

__path__ = extend_path(__path__, __name__)

# The registry imports BaseModel and BaseProcessor from these packages while a class registers, so
# they come before our own modules.
from omegaconf import OmegaConf

from lavis.common.registry import registry
from lavis.models.base_model import BaseModel
from lavis.processors.base_processor import BaseProcessor

__all__ = ["BaseModel", "BaseProcessor", "load_model"]


def load_model(name: str, model_type: str, is_eval: bool = False, device: str = "cpu") -> Any:
    """Build a registered model from its default yaml.

    Args:
        name: registered arch, e.g. ``"point_blip"``.
        model_type: one of the arch's types, e.g. ``"pretrain_bricks"``.
        is_eval: put the model in evaluation mode.
        device: where to put it.
    """
    model_cls = registry.get_model_class(name)
    config = OmegaConf.load(model_cls.default_config_path(model_type))
    model = model_cls.from_config(config.model).to(device)
    return model.eval() if is_eval else model


from lavis.models.mixcon3d_models import mixcon3d  # noqa: E402, F401
from lavis.models.point_blip_models import point_blip, point_blip_llm  # noqa: E402, F401
from lavis.models.point_llm_contrastive_models import point_llm_contrastive  # noqa: E402, F401
from lavis.models.ulip_models import ulip_text  # noqa: E402, F401
