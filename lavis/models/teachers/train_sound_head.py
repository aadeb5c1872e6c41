"""Train the head of the sound teacher, and report how it does on recordings it never heard.

    python -m lavis.models.teachers.train_sound_head
    CPU-sized: … --epochs 1 --out /tmp/sound_head.safetensors

Contrasts the training recordings of `sounds` (and of `stamps`, where they are prepared) with their
texts in the space of the texts (52 s on one core, 43 of them for features, which are kept). Writes
the head and `<out>.json`: sound to text retrieval of the val, test and held-out splits, beside
chance and the text of the nearest training recording. Then
`python -m lavis.models.teachers.embed_sounds`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lavis.common.command import command_parser, report_errors
from lavis.common.utils import get_cache_path
from lavis.datasets.datasets.annotations import Entry
from lavis.datasets.manifest import write_json
from lavis.evaluation.baselines import chance_retrieval
from lavis.evaluation.retrieval import RetrievalScores, streamed_retrieval_scores
from lavis.models.teachers.head import FeatureHead, train_head
from lavis.models.teachers.sentence import SentenceTeacher
from lavis.models.teachers.sound_features import recording_folders, recordings, sound_features
from lavis.models.weights.files import save_tensors

FOLDER = "sound_teacher"
HEAD, FEATURES_NAME = "head.safetensors", "features.safetensors"
HELD_OUT = ("val", "test", "held_out")


def texts_of(record: Entry) -> list[str]:
    """Return the captions of a recording; the first is its label."""
    captions = record["caption"]
    return list(captions) if isinstance(captions, list) else [str(captions)]


def training_pairs(records: Sequence[Entry], ids: Sequence[str]) -> list[tuple[int, str]]:
    """Return (row of the features, text) of the training recordings."""
    row_of = {name: row for row, name in enumerate(ids)}
    own = [record for record in records if record["split"] == "train"]
    return [(row_of[r["object_id"]], text) for r in own for text in texts_of(r)]


@torch.inference_mode()
def evaluate(
    head: FeatureHead,
    features: Tensor,
    ids: Sequence[str],
    records: Sequence[Entry],
    teacher: SentenceTeacher,
) -> dict[str, Any]:
    """Return recall, ranks and mAP of sound to label by data set and split, with 95% intervals.

    Each recording is compared with the distinct labels of its data set and split. `nearest_text`
    compares the label of its nearest training recording (cosine of features) instead.
    """
    row_of = {name: row for row, name in enumerate(ids)}
    train = [r for r in records if r["split"] == "train"]
    known = F.normalize(features[[row_of[r["object_id"]] for r in train]], dim=-1)
    report: dict[str, Any] = {}
    for name in dict.fromkeys(str(r["object_id"]).split("_")[0] for r in records):
        for split in HELD_OUT:
            chosen = [
                r
                for r in records
                if r["split"] == split and str(r["object_id"]).startswith(f"{name}_")
            ]
            if not chosen:
                continue
            rows = [row_of[r["object_id"]] for r in chosen]
            nearest = (F.normalize(features[rows], dim=-1) @ known.T).argmax(1).tolist()
            copied = teacher([texts_of(train[row])[0] for row in nearest])
            labels = [texts_of(r)[0] for r in chosen]
            report[f"{name}s/{split}"] = {
                "sounds": len(chosen),
                "labels": len(set(labels)),
                "sound_to_text": _scores(head(features[rows]), labels, teacher).metrics(),
                "chance": chance_retrieval([1] * len(labels), len(set(labels))),
                "nearest_text": _scores(copied, labels, teacher).metrics(),
            }
    return report


def _scores(embeds: Tensor, labels: Sequence[str], teacher: SentenceTeacher) -> RetrievalScores:
    """Rank the distinct labels for each recording."""
    distinct = sorted(set(labels))
    right = [[distinct.index(label)] for label in labels]
    gallery = teacher(distinct).numpy()
    return streamed_retrieval_scores(np.asarray(embeds), gallery, right)


@report_errors()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: 0 when the head and its report are there."""
    parser = command_parser(__doc__)
    default = Path(get_cache_path(FOLDER)) / HEAD
    parser.add_argument("--out", type=Path, default=default, help="file of the head")
    parser.add_argument("--text-teacher", default="minilm", help="whose space sounds enter")
    parser.add_argument("--epochs", type=int, default=40, help="passes through the texts")
    parser.add_argument("--seed", type=int, default=42, help="of weights and order")
    options = parser.parse_args(arguments)
    folders = recording_folders()
    records = [record for folder in folders for record in recordings(folder)]
    ids, features = sound_features(folders, options.out.with_name(FEATURES_NAME))
    teacher = SentenceTeacher(options.text_teacher, key="--text-teacher")
    pairs = training_pairs(records, ids)
    head, loss = train_head(features[:, None], pairs, teacher, options.epochs, options.seed)
    report = evaluate(head, features, ids, records, teacher)
    save_tensors(options.out, head.state_dict(), {"space": teacher.space})
    facts = {"epochs": options.epochs, "seed": options.seed, "texts": len(pairs), "loss": loss}
    write_json(options.out.with_suffix(".json"), {**facts, "held_out": report})
    print(f"Head: {options.out}, {len(pairs)} texts, loss {loss:.3f}")
    for name, part in report.items():
        recall = part["sound_to_text"]["recall_at_1"]["value"]
        print(f"  {name}: recall@1 {recall:.3f}, chance {part['chance']['recall_at_1']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
