"""The PointLLM protocol [arXiv 2308.16911]: its prompts, its files, its sentence-level metrics.

    python -m lavis.evaluation.pointllm --predictions output/…/result/test.json
    python -m lavis.evaluation.pointllm --predictions test.json --encoder minilm \\
        --encoder /models/all-mpnet-base-v2 --encoder /models/sup-simcse-roberta-large@pooler
    python -m lavis.evaluation.pointllm --ground-truth PointLLM_brief_description_val_200_GT.json \\
        --to data/objaverse          # uids and captions for the Objaverse builder

Predictions are PointLLM's {"prompt", "results": [{"object_id", "ground_truth", "model_output"}]} or
this project's captioning file. Scores are fractions (PointLLM prints them times 100). METEOR is
NLTK's with WordNet: computed when both are there, else null with the reason. The published protocol
samples its answers; greedy decoding is this project's default, so that a run can be repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.command import command_parser, report_errors
from lavis.common.errors import EvaluationError
from lavis.common.text_files import read_json
from lavis.evaluation.intervals import mean_metric
from lavis.evaluation.records import build_metrics_record, first_few, git_commit, write_json_atomic
from lavis.evaluation.sentence_encoders import SentenceEncoder, pair_similarity
from lavis.evaluation.sentence_metrics import sentence_bleu, sentence_rouge

CLASSIFICATION_PROMPTS = ("What is this?", "This is an object of ")
CAPTION_PROMPT = "Caption this 3D model in detail."
PROMPTS = (*CLASSIFICATION_PROMPTS, CAPTION_PROMPT)
EMPTY_OUTPUT = "##"  # PointLLM's stand-in, which scores 0 everywhere
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Prediction:
    """One generated text with its reference (a human text, a class name or its index)."""

    item_id: str
    reference: str
    text: str
    label_name: str | None = None


def read_predictions(path: str | Path) -> list[Prediction]:
    """Read PointLLM's result file or this project's captioning file.

    Raises:
        EvaluationError: not one of the two, without items, or with a repeated id.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(
            "a predictions file cannot be read", where=str(path), got=str(error)
        ) from error
    rows = content.get("results") if isinstance(content, dict) else content
    rows = rows if isinstance(rows, list) else []
    items = [_prediction(row, number, path) for number, row in enumerate(rows)]
    ids = [item.item_id for item in items]
    repeated = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []
    if not items or repeated:
        raise EvaluationError(
            "a predictions file is empty or repeats ids",
            where=str(path),
            got=first_few(repeated) if repeated else "no items",
        )
    return items


def _prediction(row: Any, number: int, path: str | Path) -> Prediction:
    keys = ("object_id", "ground_truth", "model_output")
    ours = ("image_id", "2d_caption", "caption")
    names = next((k for k in (keys, ours) if isinstance(row, dict) and set(k) <= set(row)), None)
    if names is None:
        raise EvaluationError(
            "a prediction lacks its fields",
            where=f"{path}: entry {number}",
            got=sorted(map(str, row)) if isinstance(row, dict) else type(row).__name__,
            expected=f"{list(keys)} or {list(ours)}",
        )
    label = row.get("label_name")
    item_id, reference, text = (str(row[name]) for name in names)
    return Prediction(item_id, reference, text, None if label is None else str(label))


def read_ground_truth(path: str | Path) -> dict[str, str]:
    """Read PointLLM's annotation: [{"object_id", "conversations": [human, gpt]}] -> {uid: caption}.

    Raises:
        EvaluationError: an entry without an id or an answer, or a repeated uid.
    """
    captions: dict[str, str] = {}
    for number, entry in enumerate(read_json(path)):
        answers = [c["value"] for c in entry.get("conversations", []) if c.get("from") == "gpt"]
        uid = str(entry.get("object_id", ""))
        if not uid or not answers or uid in captions:
            raise EvaluationError(
                "an annotation has no id, no answer, or an id that was there before",
                where=f"{path}: entry {number}",
                got=uid or sorted(entry),
            )
        captions[uid] = answers[0]
    return captions


def protocol_scores(
    items: Sequence[Prediction], encoders: Sequence[SentenceEncoder] = ()
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Per-item scores [N] in 0..1 (similarities -1..1), and why a metric is missing."""
    texts = [item.text if item.text.strip() else EMPTY_OUTPUT for item in items]
    rows = [
        sentence_bleu(item.reference, text) | sentence_rouge(item.reference, text)
        for item, text in zip(items, texts)
    ]
    scores = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    references = [item.reference for item in items]
    for encoder in encoders:
        name = f"similarity/{encoder.label}"
        scores[name] = pair_similarity(encoder, references, texts)
    missing = {}
    try:
        scores["meteor"] = _nltk_meteor(references, texts)
    except (ImportError, LookupError) as error:
        missing["meteor"] = f"needs nltk with WordNet data: {str(error).strip().splitlines()[0]}"
    return scores, missing


def _nltk_meteor(references: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    from nltk.translate.meteor_score import meteor_score

    pairs = zip(references, texts)
    return np.array([meteor_score([wanted.split()], given.split()) for wanted, given in pairs])


def protocol_metrics(
    items: Sequence[Prediction], encoders: Sequence[SentenceEncoder] = (), seed: int = 0
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray], dict[str, str]]:
    """Metrics with intervals under "pointllm/…", their per-item values, and what is missing."""
    scores, missing = protocol_scores(items, encoders)
    named = {f"pointllm/{name}": values for name, values in scores.items()}
    metrics: dict[str, dict[str, Any]] = {
        name: mean_metric(values, seed=seed) for name, values in named.items()
    }
    metrics |= {f"pointllm/{name}": {"value": None, "ci95": None} for name in missing}
    return metrics, named, {f"pointllm/{name}": reason for name, reason in missing.items()}


def record_beside(
    predictions: Path,
    suffix: str,
    task: str,
    metrics: dict[str, Any],
    n: int,
    extra: dict[str, Any],
) -> Path:
    """Write a metrics record to the folder of a predictions file, with its hashes and seed.

    Args:
        predictions: <stem>.json; its <stem>_metrics.json, if present, gives the origin.
        suffix: the record becomes <stem>_<suffix>_metrics.json.
        task, metrics, n, extra: content of the record.
    """
    own = predictions.with_name(f"{predictions.stem}_metrics.json")
    origin = read_json(own) if own.is_file() else {}
    record = build_metrics_record(
        task=task,
        split=origin.get("split", predictions.stem),
        metrics=metrics,
        baselines={},
        n_expected=n,
        n_scored=n,
        config_hash=origin.get("config_hash"),
        git_commit=origin.get("git_commit", git_commit(_ROOT)),
        seed=origin.get("seed"),
        checkpoint_hash=origin.get("checkpoint_hash"),
        extra={"predictions": predictions.name, **extra},
    )
    path = predictions.with_name(f"{predictions.stem}_{suffix}_metrics.json")
    return write_json_atomic(path, dict(record))


def score_file(predictions: Path, encoder_names: Sequence[str]) -> Path:
    """Score a predictions file and write <stem>_pointllm_metrics.json to its folder."""
    items = read_predictions(predictions)
    encoders = [SentenceEncoder(name) for name in encoder_names]
    metrics, _, missing = protocol_metrics(items, encoders)
    for name, entry in metrics.items():
        if entry["value"] is not None:
            print(f"{name:40s} {100 * entry['value']:6.2f}")
    extra = {"unavailable": missing, "encoders": list(encoder_names)}
    return record_beside(predictions, "pointllm", "pointllm_captioning", metrics, len(items), extra)


@report_errors(OSError, ValueError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when a file was written."""
    parser = command_parser(__doc__, "python -m lavis.evaluation.pointllm")
    parser.add_argument("--predictions", type=Path, help="file to score")
    parser.add_argument("--encoder", action="append", help="minilm, or a folder (repeatable)")
    parser.add_argument("--ground-truth", type=Path, help="PointLLM annotation to convert")
    parser.add_argument("--to", type=Path, help="folder for uids.txt and captions.json")
    options = parser.parse_args(arguments)
    if options.predictions:
        print(f"written: {score_file(options.predictions, options.encoder or ['minilm'])}")
    elif options.ground_truth and options.to:
        captions = read_ground_truth(options.ground_truth)
        write_json_atomic(options.to / "pointllm_captions.json", captions)
        text = "".join(f"{uid}\n" for uid in captions)
        (options.to / "pointllm_uids.txt").write_text(text, encoding="utf-8")
        print(f"{len(captions)} objects -> {options.to}")
    else:
        parser.error("give --predictions, or --ground-truth with --to")
    return 0


if __name__ == "__main__":
    sys.exit(main())
