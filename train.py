"""Train and evaluate a recipe.

    python train.py --cfg-path lavis/projects/bricks/train/demo_stage1.yaml
    python -m torch.distributed.run --nproc_per_node=8 train.py --cfg-path lavis/projects/….yaml
    python train.py --cfg-path ….yaml --options run.max_epoch=2 run.batch_size_train=8
    CPU-sized: add --options run.max_steps=4 datasets.bricks_caption.build_info.limit.train=64

One process or many, CPU (gloo) or CUDA (nccl). Results and checkpoints go to <output_dir>/<job_id>.
"""

from __future__ import annotations

import argparse
import logging
import os

# The built-in models are read from installed packages, and a run that asks for a hub model says so.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line that LAVIS users know."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cfg-path", required=True, help="the recipe's yaml")
    parser.add_argument(
        "--options", nargs="+", action="extend", default=[], help="key=value overrides of the yaml"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, evaluate_only: bool = False) -> None:
    """Run a recipe from its yaml to its result files."""
    args = parse_args(argv)
    if evaluate_only:
        args.options = [*args.options, "run.evaluate=true"]

    from lavis.common.dist_utils import broadcast_object, init_distributed_mode, leave
    from lavis.common.errors import PointLanguageError
    from lavis.common.launch import prepare_process
    from lavis.common.run_config import RunConfig
    from lavis.common.utils import now
    from lavis.tasks import setup_task

    try:
        cfg = RunConfig(args)
        init_distributed_mode(cfg.run_cfg)
        prepare_process(cfg.run_cfg)
        from lavis.common.registry import registry

        job_id = broadcast_object(cfg.run_cfg.get("job_id") or now())
        cfg.pretty_print()
        task = setup_task(cfg)
        datasets = task.build_datasets(cfg)
        model = task.build_model(cfg)
        runner_cls = registry.get_runner_class(cfg.run_cfg.get("runner", "runner_point"))
        runner = runner_cls(cfg=cfg, task=task, model=model, datasets=datasets, job_id=job_id)
        runner.evaluate(skip_reload=True) if evaluate_only else runner.train()
    except PointLanguageError as error:
        logging.error("%s: %s", type(error).__name__, error)
        leave(2)
    leave()


if __name__ == "__main__":
    main()
