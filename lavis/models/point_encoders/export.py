"""Write a point encoder as a small safetensors file that `point_encoder_weights` reads.

    # the encoder of one of our runs
    python -m lavis.models.point_encoders.export \\
        --checkpoint output/bricks/encoder/checkpoint_last.pth --out
        weights/point_bert_bricks.safetensors
    # --average: the averaged weights of a run with run.ema_decay
    # --part object_head: the layer behind the encoder, for model.retrieval_head

    # a published file: checked against its release, without optimiser state and other towers
    python -m lavis.models.point_encoders.export \\
        --checkpoint model.pt --release openshape_vitg14 --out openshape_vitg14.safetensors

Weights are stored as float16 (--dtype), half the size; loading casts them to the encoder's own
type. BatchNorm's counters stay as they are. Names are the published ones, without a
prefix.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from lavis.common.checkpoint import load_checkpoint_file
from lavis.common.errors import CheckpointError
from lavis.models.point_encoders.releases import RELEASES, load_released_encoder
from lavis.models.weights.files import save_tensors

ENCODER, HEAD = "point_encoder", "object_head"


def encoder_state(
    checkpoint: str | Path,
    dtype: torch.dtype = torch.float16,
    average: bool = False,
    part: str = ENCODER,
) -> dict[str, Tensor]:
    """Take the encoder out of a run's checkpoint: published names.

    Args:
        checkpoint: of one of our runs.
        dtype: of the result.
        average: take the averaged weights of `run.ema_decay`.
        part: the encoder, or the object head behind it.

    Raises:
        CheckpointError: the checkpoint holds no such part (it was frozen in that run), or no
            average.
    """
    payload = load_checkpoint_file(checkpoint, key="--checkpoint")
    state = payload.get("model", payload)
    if average:
        if not payload.get("ema"):
            what, fix = "the checkpoint holds no averaged weights", "leave out --average"
            raise CheckpointError(
                what, where=f"--checkpoint: {checkpoint}", expected="run.ema_decay", fix=fix
            )
        state = {**state, **payload["ema"]}
    prefix = f"{part}."
    found = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    if not any(name.endswith(".weight") for name in found):
        raise CheckpointError(
            f"the checkpoint holds no trained {part}",
            where=f"--checkpoint: {checkpoint}",
            expected="a run that trains it, e.g. pretrain_voxel_encoder.yaml",
        )
    return cast_state(found, dtype)


def released_state(
    checkpoint: str | Path, release: str, dtype: torch.dtype = torch.float16
) -> dict[str, Tensor]:
    """Take the encoder out of a published file, checked key by key.

    Raises:
        ConfigError: unknown release.
        CheckpointError: a file that does not fit it.
    """
    encoder, _ = load_released_encoder(release, checkpoint)
    return cast_state(encoder.state_dict(), dtype)


def cast_state(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Cast the floating-point tensors of a state dict and make all contiguous."""
    return {n: (t.to(dtype) if t.is_floating_point() else t).contiguous() for n, t in state.items()}


def main() -> None:
    """Export from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--release", choices=sorted(RELEASES), help="of a published file")
    parser.add_argument("--dtype", choices=["float16", "bfloat16", "float32"], default="float16")
    parser.add_argument("--average", action="store_true", help="averaged weights of a run")
    parser.add_argument("--part", choices=[ENCODER, HEAD], default=ENCODER, help="of a run")
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype)
    if args.release:
        state = released_state(args.checkpoint, args.release, dtype)
    else:
        state = encoder_state(args.checkpoint, dtype, args.average, args.part)
    source = args.release or "pretrain_encoder.yaml"
    save_tensors(Path(args.out), state, {"format": "pt", "source": source})
    size = sum(t.numel() * t.element_size() for t in state.values()) / 2**20
    print(f"{len(state)} tensors, {size:.1f} MiB -> {args.out}")


if __name__ == "__main__":
    main()
