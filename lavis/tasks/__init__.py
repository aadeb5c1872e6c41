"""Tasks by name. A new task is one new file and one import line below."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

from lavis.tasks.base_task import BaseTask

__all__ = ["BaseTask", "setup_task"]


def setup_task(cfg):
    """Build the task of `run.task`; without it the first evaluation's, with its options."""
    from lavis.common.registry import registry
    from lavis.tasks.named_tasks import named_tasks

    if cfg.run_cfg.task:
        return registry.get_task_class(cfg.run_cfg.task).setup_task(cfg=cfg)
    return next(iter(named_tasks(cfg.run_cfg).values()))


from lavis.tasks import (  # noqa: E402, F401
    alignment_study,
    embedding_arithmetic,
    embedding_export,
    modality_retrieval,
    point_captioning,
    point_classification,
    point_detection,
    point_generative_classification,
    point_instance_segmentation,
    point_llm_protocol,
    point_qa,
    point_referring,
    point_retrieval,
    point_segmentation,
    point_text_pretrain,
)
