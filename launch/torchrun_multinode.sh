#!/usr/bin/env bash
# Train over several machines: run this on each of them, with the same three variables.
#   NODES=2 HEAD=node01 JOB=stage1 launch/torchrun_multinode.sh --cfg-path lavis/projects/….yaml [--options …]
# One machine, two CPU processes:
#   NODES=1 GPUS=2 HEAD=localhost JOB=try launch/torchrun_multinode.sh --cfg-path ….yaml --options run.max_steps=4
# The output folder must be on a disk that all machines share. A rank that dies ends all; every
# machine's launcher starts its ranks again (up to RESTARTS times) from the newest whole checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${NODES:?number of machines}" "${HEAD:?name of the first machine}" "${JOB:?folder name of this run}"
PYTHON=${PYTHON:-.venv/bin/python}
# torch 2.13 shares one store over all restarts, in which the first machine publishes its address only
# once: a machine whose launcher was started again would wait for it and end after a minute.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=${TORCH_DISABLE_SHARE_RDZV_TCP_STORE:-1}
exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$NODES" --nproc_per_node="${GPUS:-8}" --max_restarts="${RESTARTS:-3}" \
    --rdzv_backend=c10d --rdzv_endpoint="$HEAD:${PORT:-29400}" --rdzv_id="$JOB" \
    train.py "$@" --resume auto --options run.job_id="$JOB"
