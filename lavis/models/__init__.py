"""Models by name, and LAVIS' functions that build them.

    from lavis.models import load_model_and_preprocess, model_zoo

    model, point_processors, text_processors = load_model_and_preprocess(
        "point_blip", "bricks", is_eval=True, device="cpu"
    )

A new model is one new file and one import line below.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

# The registry imports BaseModel and BaseProcessor from these packages while a class registers, so
# they come before our own modules.
from lavis.models.base_model import BaseModel
from lavis.processors.base_processor import BaseProcessor

__all__ = [
    "BaseModel",
    "BaseProcessor",
    "load_model",
    "load_model_and_preprocess",
    "load_preprocess",
    "model_zoo",
]

from lavis.models.mixcon3d_models import mixcon3d  # noqa: F401
from lavis.models.point_bind_models import point_bind  # noqa: F401
from lavis.models.point_blip_models import point_blip, point_blip_llm  # noqa: F401
from lavis.models.point_llm_contrastive_models import point_llm_contrastive  # noqa: F401
from lavis.models.point_llm_models import point_llm  # noqa: F401
from lavis.models.text4point_models import (  # noqa: F401
    detection,
    instance_referring,
    instances,
    referring,
    segmentation,
    text4point,
)
from lavis.models.ulip_models import ulip_text  # noqa: F401
from lavis.models.zoo import (
    load_model,
    load_model_and_preprocess,
    load_preprocess,
    model_zoo,
)
