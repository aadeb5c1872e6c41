"""Metrics records for the tests of tables and reports."""

from lavis.evaluation.records import build_metrics_record, write_json_atomic

BRICKS = {"name": "bricks", "version": 2, "split_file_sha256": "ab" * 32}
COMMIT = "1" * 40


def paired(difference, low, high, p_value, n=7):
    """A paired difference as records hold it."""
    return {"difference": difference, "ci95": [low, high], "p_value": p_value, "n": n}


def record(task="point_captioning", metrics=None, baselines=None, *, split="dev_test", **parts):
    """A record of seven items; `claims` is a list, other keywords are parts of the record."""
    metrics = metrics or {"cider": {"value": 0.953, "ci95": [0.758, 1.153]}}
    parts["claims"] = dict.fromkeys(parts.pop("claims", []), 7)
    commit, extra = parts.pop("commit", COMMIT), parts.pop("extra", {})
    return build_metrics_record(
        *(task, split, metrics, baselines or {}, 7, 7, "c" * 64, commit, 1, None, extra),
        **{"data": BRICKS, **parts},
    )


def captioning(value=0.953, *, difference=None, strongest=1.334, **parts):
    """Captions that are claimed in CIDEr, beside two baselines."""
    metrics = {
        "cider": {"value": value, "ci95": [value - 0.2, value + 0.2]},
        "bleu_4": {"value": 0.144, "ci95": None},
        "spice": {"value": None, "ci95": None},
    }
    baselines = {"chance_caption": {"cider": 0.077}, "nearest_box": {"cider": strongest}}
    compared = {
        "chance_caption": paired(0.8, 0.7, 0.9, 0.0001),
        "nearest_box": difference or paired(-0.381, -0.767, -0.012, 0.004),
    }
    given = {"claims": ["cider"], "comparisons": {"cider": compared}} | parts
    return record("point_captioning", metrics, baselines, **given)


def write(folder, **records):
    """Write each record as <folder>/<name>.json."""
    for name, content in records.items():
        write_json_atomic(folder / f"{name}.json", content)
