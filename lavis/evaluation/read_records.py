"""Read result files back: strict JSON, and metrics records of this schema version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lavis.common.errors import EvaluationError, explain
from lavis.evaluation.records import SCHEMA_VERSION

_RECORD_KEYS = ("task", "split", "metrics", "baselines", "n_expected", "n_scored")


def read_json(path: Path) -> Any:
    """Read strict JSON; NaN is refused."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number of JSON")

    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except (OSError, ValueError) as error:
        raise EvaluationError(
            explain(
                "a result file cannot be read",
                where=str(path),
                got=str(error),
                fix="evaluate again",
            )
        ) from error


def checked_record(record: Any, path: Path) -> dict[str, Any]:
    """Return a metrics record of this schema version, or say what it lacks."""
    missing = [key for key in _RECORD_KEYS if not isinstance(record, dict) or key not in record]
    version = record.get("schema_version") if isinstance(record, dict) else None
    if missing or version != SCHEMA_VERSION:
        raise EvaluationError(
            explain(
                "a metrics file is not a metrics record",
                where=str(path),
                got=f"schema_version {version}, missing {missing}",
                expected=f"schema_version {SCHEMA_VERSION} with {list(_RECORD_KEYS)}",
                fix="evaluate again with this version of the code",
            )
        )
    return record
