"""Write a trained point encoder as a small safetensors file that `point_encoder_weights` reads.

    python -m lavis.models.point_encoders.export \\
        --checkpoint output/bricks/encoder/checkpoint_last.pth --out
        weights/point_bert_bricks.safetensors

Weights are stored as float16 (half the size; loading casts them to the encoder's own type),
BatchNorm's counters as they are. Names are the published ones, without a prefix.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import Tensor

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError, explain

PREFIX = "point_encoder."


def encoder_state(checkpoint: str | Path) -> dict[str, Tensor]:
    """Take the encoder out of a run's checkpoint: float16, published names.

    Raises:
        CheckpointError: the checkpoint holds no encoder (it was frozen in that run).
    """
    payload = load_checkpoint_file(checkpoint, key="--checkpoint")
    state = payload.get("model", payload)
    found = {n.removeprefix(PREFIX): t for n, t in state.items() if n.startswith(PREFIX)}
    if not any(name.endswith(".weight") for name in found):
        raise CheckpointError(
            explain(
                "the checkpoint holds no trained point encoder",
                where=f"--checkpoint: {checkpoint}",
                expected="a run that trains the encoder, e.g. pretrain_encoder.yaml",
            )
        )
    return {n: (t.half() if t.is_floating_point() else t).contiguous() for n, t in found.items()}


def main() -> None:
    """Export from the command line."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    state = encoder_state(args.checkpoint)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    save_file(state, args.out, metadata={"format": "pt", "source": "pretrain_encoder.yaml"})
    size = sum(t.numel() * t.element_size() for t in state.values()) / 2**20
    print(f"{len(state)} tensors, {size:.1f} MiB -> {args.out}")


if __name__ == "__main__":
    main()
