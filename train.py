"""Train and evaluate a recipe.

    python train.py --cfg-path lavis/projects/bricks/train/demo_stage1.yaml
    python -m torch.distributed.run --nproc_per_node=8 train.py --cfg-path lavis/projects/….yaml
    python train.py --cfg-path ….yaml --options run.max_epoch=2 run.batch_size_train=8
    python train.py --cfg-path ….yaml --dry-run        # the plan: parameters, memory, steps
    python train.py --cfg-path ….yaml --resume auto    # continue from the newest checkpoint
    CPU-sized: add --options run.max_steps=4 datasets.bricks_caption.build_info.limit.train=64

One process or many, CPU (gloo) or CUDA (nccl). Results and checkpoints go to <output_dir>/<job_id>.
SIGTERM, SIGINT and SIGHUP save at the next step and exit with 143, 130 and 129. A job's folder
takes one run at a time. docs/training.md has the rest.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from typing import Any

# The built-in models are read from installed packages, and a run that needs a hub model reports it.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# oneDNN keeps a kernel and its buffers for each shape it has met, 1024 by default. Captions give
# every batch other shapes: the demo's stage 1 grew by 30 MB a step on CPU, and no step was faster.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def parse_args(argv: list[str] | None = None, evaluate_only: bool = False) -> argparse.Namespace:
    """Read the command line that LAVIS users know; `--test-final` belongs to evaluate.py."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cfg-path", required=True, help="the recipe's yaml")
    parser.add_argument(
        "--options", nargs="+", action="extend", default=[], help="key=value overrides of the yaml"
    )
    parser.add_argument("--resume", metavar="auto|FILE", help="short for run.resume_ckpt_path")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and leave")
    if evaluate_only:
        reason = "score the locked test-final split; the reason goes into its log"
        parser.add_argument("--test-final", metavar="REASON", help=reason)
    args = parser.parse_args(argv)
    if args.resume:
        args.options.append(f"run.resume_ckpt_path={args.resume}")
    if evaluate_only:
        args.options.append("run.evaluate=true")
        if args.test_final is not None:
            # JSON is yaml: a colon or bracket in the reason stays text.
            args.options.append(f"run.test_final_reason={json.dumps(args.test_final)}")
    return args


def main(argv: list[str] | None = None, evaluate_only: bool = False) -> None:
    """Run a recipe from its yaml to its result files."""
    args = parse_args(argv, evaluate_only)

    from lavis.common.preemption import leave_at_signals

    with leave_at_signals("outside of training: nothing is lost, the next launch continues"):
        launch(args, evaluate_only)


def launch(args: argparse.Namespace, evaluate_only: bool) -> None:
    """Join the process group, run, and leave it with the exit code of what happened."""
    from lavis.common.dist_utils import init_distributed_mode, leave
    from lavis.common.errors import PointLanguageError, Preempted
    from lavis.config.run_config import RunConfig

    try:
        cfg = RunConfig(args)
        init_distributed_mode(cfg.run_cfg)
        run(cfg, evaluate_only, args.dry_run)
    except SystemExit as leaving:  # a stop signal outside of training
        leave(leaving.code if isinstance(leaving.code, int) else 1, in_order=False)
    except Preempted as stopped:
        logging.warning("%s", stopped)
        leave(stopped.exit_code, in_order=stopped.agreed)
    except PointLanguageError as error:
        logging.error("%s: %s", type(error).__name__, error)
        leave(2)
    leave()


def run(cfg: Any, evaluate_only: bool, dry_run: bool) -> None:
    """Check what a configuration names, and run it in its own job folder."""
    from lavis.common.errors import ConfigError
    from lavis.common.launch import prepare_process, resolve_job
    from lavis.config.file_check import check_files
    from lavis.runners.outputs import held_folder

    if dry_run and cfg.run_cfg.evaluate:
        what, fix = "a dry run plans a training", "leave --dry-run out"
        raise ConfigError(what, where="--dry-run", got="a recipe that evaluates", fix=fix)
    prepare_process(cfg.run_cfg)
    check_files(cfg.to_dict(), cfg.cfg_path)
    job_id = resolve_job(cfg.run_cfg, dry_run)
    if dry_run:
        run_job(cfg, job_id, evaluate_only, dry_run)
        return
    with held_folder(cfg.run_cfg.output_dir, job_id):
        run_job(cfg, job_id, evaluate_only, dry_run)


def run_job(cfg: Any, job_id: str, evaluate_only: bool, dry_run: bool) -> None:
    """Build what a checked configuration describes, and run it."""
    from lavis.common.registry import registry

    from lavis.runners.evaluations import check_named_abilities
    from lavis.tasks import setup_task

    cfg.pretty_print()
    check_named_abilities(cfg.run_cfg, registry.get_model_class(cfg.model_cfg.arch))
    task = setup_task(cfg)
    datasets = task.build_datasets(cfg)
    model = task.build_model(cfg)
    runner_cls = registry.get_runner_class(cfg.run_cfg.get("runner", "runner_point"))
    runner = runner_cls(
        cfg=cfg, task=task, model=model, datasets=datasets, job_id=job_id, dry_run=dry_run
    )
    if dry_run:
        runner.print_plan()
    elif evaluate_only:
        runner.evaluate(skip_reload=True)
    else:
        runner.train()


if __name__ == "__main__":
    main()
