"""Train the image teacher's pixel head on labelled frames of the training split alone.

    python -m lavis.models.teachers.train_pixel_head
    … --dataset rooms_frames --steps 400 --prompt "point cloud of a"
    CPU-sized: … --steps 5 --limit 16 --out /tmp/pixel_head.safetensors

Compares the embeddings of labelled pixels with the texts of their labels (cross-entropy of cosines,
rare classes weigh more). No cloud enters: a point only says which pixel has a label. Writes the
head and `<out>.json`, mIoU and accuracy of pixels of the validation split beside ConSE's. Then
`--options model.image_teacher=<out>` of a Text4Point pre-training.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from lavis.common.command import command_parser, positive, report_errors
from lavis.common.errors import DataError
from lavis.common.utils import get_cache_path
from lavis.datasets.builders import load_dataset
from lavis.datasets.manifest import write_json
from lavis.evaluation.scenes.segmentation import (
    chance_confusions,
    confusion,
    segmentation_scores,
)
from lavis.models.teachers.dense import EfficientNetMaps, dense_teacher
from lavis.models.teachers.image import FEATURES
from lavis.models.teachers.image_decoder import at_pixels
from lavis.models.teachers.pixel_head import PixelHead, save_pixel_head
from lavis.models.teachers.sentence import SentenceTeacher

BATCH, PIXELS = 8, 2048  # frames of a step, labelled pixels of a frame that count
RATE, DECAY, SCALE = 2e-3, 0.05, 50.0
BALANCE = 0.5  # weight of a class: its pixels in the batch to the power of minus this
OUT = "rooms_pixel_head.safetensors"


class LabelledPixels:
    """Pixels [P] of a batch of frames with their labels.

    Args:
        samples: a batch of frames with `semantic_label`.

    Attributes:
        images: float [B,3,H,W] in [0,1].
        frame, pixel, label: Long [P], [P,2] (column, row) and [P], at most `PIXELS` of a frame.

    Raises:
        DataError: the frames have no labels.
    """

    def __init__(self, samples: dict[str, Any]) -> None:
        if "semantic_label" not in samples:
            what = "a pixel head needs frames with labels"
            raise DataError(what, where="--dataset", got=sorted(samples))
        self.images: Tensor = samples["image"][:, 0]
        pixels, labels = samples["pixel_of_point"], samples["semantic_label"]
        rows, points = ((labels >= 0) & (pixels[..., 0] >= 0)).nonzero(as_tuple=True)
        kept = torch.cat([(rows == r).nonzero()[:PIXELS, 0] for r in range(len(labels))])
        self.frame, point = rows[kept], points[kept]
        self.pixel, self.label = pixels[self.frame, point], labels[self.frame, point]

    def of(self, maps: Tensor) -> Tensor:
        """Return what maps [B,C,h,w] have there: [P,C]."""
        size = (self.images.shape[2], self.images.shape[3])
        return at_pixels(maps, self.frame, self.pixel, size)


def train_pixel_head(
    maps: EfficientNetMaps,
    batches: Iterator[dict[str, Any]],
    texts: Tensor,
    steps: int,
    seed: int = 42,
) -> PixelHead:
    """Train a head on so many batches of frames.

    Args:
        maps: the frozen network.
        batches: of frames with labels.
        texts: unit embeddings [K,E] of the labels.
        steps: of AdamW, whose rate rises, then falls as a cosine.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    head = PixelHead(maps.stage_dims, FEATURES, texts.shape[1])
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    bar = tqdm(range(steps), "Training the pixel head", unit="step")
    for _ in bar:
        batch = LabelledPixels(next(batches))
        if not len(batch.label):  # its mean loss would be NaN
            continue
        with torch.no_grad():
            features, stages = maps.maps(batch.images)
        logits = SCALE * head.embed(batch.of(head.features(features, stages))) @ texts.T
        counts = torch.bincount(batch.label, minlength=len(texts)).clamp(min=1)
        loss = F.cross_entropy(logits, batch.label, counts.float() ** -BALANCE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    return head.eval()


@torch.inference_mode()
def evaluate(
    embedders: dict[str, Any], loader: DataLoader[Any], texts: Tensor, names: Sequence[str]
) -> dict[str, Any]:
    """Return mIoU and accuracy of pixels, with 95% intervals over frames, and chance.

    Args:
        embedders: {name: images [B,3,H,W] to embeddings [B,E,h,w]}.
        loader: of frames, one a batch.
        texts: unit embeddings [K,E] of the labels.
        names: K labels.
    """
    counts: dict[str, list[np.ndarray]] = {name: [] for name in embedders}
    ids: list[str] = []
    for samples in tqdm(loader, "Validation", unit="frame"):
        batch = LabelledPixels(samples)
        ids += map(str, samples["instance_id"])
        for name, embed in embedders.items():
            found = (batch.of(embed(batch.images)) @ texts.T).argmax(1)
            counts[name].append(confusion(batch.label.numpy(), found.numpy(), len(names)))
    tables = {name: np.stack(parts) for name, parts in counts.items()}
    tables["chance"] = chance_confusions(next(iter(tables.values())))
    return {
        name: {
            m: s for m, s in segmentation_scores(t, ids, names).metrics().items() if "/" not in m
        }
        for name, t in tables.items()
    }


def endless(loader: DataLoader[Any]) -> Iterator[dict[str, Any]]:
    """Yield batches, epoch after epoch."""
    while True:
        yield from loader


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the head and its report are there."""
    parser = command_parser(__doc__)
    out = Path(get_cache_path(OUT))
    parser.add_argument("--dataset", default="rooms_frames", help="frames with labels")
    parser.add_argument("--out", type=Path, default=out, help="file of the head")
    parser.add_argument("--text-teacher", default="minilm", help="whose space pixels enter")
    parser.add_argument("--prompt", default="point cloud of a", help="words before a label")
    parser.add_argument("--steps", type=positive, default=400, help=f"of {BATCH} frames")
    parser.add_argument("--limit", type=positive, default=120, help="validation frames")
    parser.add_argument("--seed", type=int, default=42, help="of weights and order")
    options = parser.parse_args(arguments)
    splits = load_dataset(options.dataset)
    train, val = splits["train"], splits["val"]
    names = list(train.class_names)
    teacher = SentenceTeacher(options.text_teacher, key="--text-teacher")
    texts = teacher([f"{options.prompt} {name}" for name in names])
    conse: Any = dense_teacher("conse", teacher)
    order = torch.Generator().manual_seed(options.seed)
    loader: DataLoader[Any] = DataLoader(
        train, BATCH, shuffle=True, generator=order, collate_fn=train.collater
    )
    head = train_pixel_head(conse, endless(loader), texts, options.steps, options.seed)
    save_pixel_head(options.out, head, teacher.space)
    chosen = np.linspace(0, len(val) - 1, min(options.limit, len(val))).astype(int)
    few = Subset(val, chosen.tolist())
    one: DataLoader[Any] = DataLoader(few, 1, collate_fn=val.collater)
    embedders = {
        "pixel_head": lambda images: head(*conse.maps(images)),
        "conse": lambda images: conse(images).embeds,
    }
    report = evaluate(embedders, one, texts, names)
    facts = {"steps": options.steps, "seed": options.seed, "frames": len(few)}
    write_json(options.out.with_suffix(".json"), {**facts, "val": report})
    print(f"Head: {options.out}")
    for name, scores in report.items():
        values = ", ".join(f"{m} {v['value'] * 100:.1f}%" for m, v in scores.items())
        print(f"  {name}: {values}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
