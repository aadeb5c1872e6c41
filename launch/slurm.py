"""Submit a recipe to Slurm; a preempted or timed-out job saves, is queued again and resumes.

    python launch/slurm.py --nodes 4 --gpus 8 --hours 24 --job stage1 --partition gpu -- \
        --cfg-path lavis/projects/….yaml --options run.batch_size_train=32
    … --print        # show the job's script, submit nothing

One task per GPU is started by srun; the ranks find each other through Slurm's variables and
MASTER_ADDR. Two minutes before the end Slurm sends SIGTERM, upon which every rank saves and exits
with 143 and the script asks for the job to be queued again. Plain Slurm, no package: submitit users
can pass `command(...)` to a submitit executor.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAVED = 143  # train.py after SIGTERM
STALLED = 75  # train.py's watchdog


def command(job: str, arguments: list[str], python: str) -> list[str]:
    """Return the command of one rank."""
    return [python, "train.py", *arguments, "--resume", "auto", "--options", f"run.job_id={job}"]


def script(args: argparse.Namespace, arguments: list[str]) -> str:
    """Return the batch script.

    Args:
        args: nodes, gpus, cpus, hours, job, partition, python.
        arguments: of train.py.
    """
    rank = shlex.join(command(args.job, arguments, args.python))
    partition = [f"#SBATCH --partition={args.partition}"] if args.partition else []
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            f"#SBATCH --job-name={args.job}",
            f"#SBATCH --nodes={args.nodes}",
            f"#SBATCH --ntasks-per-node={args.gpus}",
            f"#SBATCH --gpus-per-node={args.gpus}",
            f"#SBATCH --cpus-per-task={args.cpus}",
            f"#SBATCH --time={args.hours}:00:00",
            *partition,
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            "#SBATCH --signal=TERM@120",
            f"#SBATCH --output={ROOT}/output/{args.job}.%j.log",
            f"cd {shlex.quote(str(ROOT))}",
            'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
            "export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))",
            # the shell itself must outlive the signal that its job step gets
            "trap '' TERM",
            f"srun --kill-on-bad-exit=1 {rank}",
            "code=$?",
            f"if [ $code -eq {SAVED} ] || [ $code -eq {STALLED} ]; then",
            '    scontrol requeue "$SLURM_JOB_ID"',
            "fi",
            "exit $code",
            "",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Print or submit the script."""
    argv = sys.argv[1:] if argv is None else argv
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=8, help="per machine")
    parser.add_argument("--cpus", type=int, default=8, help="per GPU")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--job", required=True, help="folder name of this run")
    parser.add_argument("--partition", default="")
    parser.add_argument("--python", default=".venv/bin/python")
    parser.add_argument("--print", action="store_true", help="show the script, submit nothing")
    text = script(args := parser.parse_args(argv[:cut]), argv[cut + 1 :])
    if args.print:
        print(text)
        return 0
    return subprocess.run(["sbatch"], input=text, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
