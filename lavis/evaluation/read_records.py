"""Read result files back: strict JSON, and metrics records of this schema version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lavis.common import text_files
from lavis.common.errors import EvaluationError
from lavis.evaluation.records import SCHEMA_VERSION

_RECORD_KEYS = (
    *("task", "split", "metrics", "baselines", "claims", "comparisons"),
    *("data", "baseline_pool", "alteration", "n_expected", "n_scored"),
)


def read_json(path: Path) -> Any:
    """Read strict JSON (see `parse_json`)."""
    try:
        return text_files.read_json(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(
            "a result file cannot be read", where=str(path), got=str(error), fix="evaluate again"
        ) from error


def checked_record(record: Any, path: Path) -> dict[str, Any]:
    """Return a metrics record of this schema version.

    Raises:
        EvaluationError: not a metrics record, or one of another schema version: evaluate again.
    """
    missing = [key for key in _RECORD_KEYS if not isinstance(record, dict) or key not in record]
    version = record.get("schema_version") if isinstance(record, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise EvaluationError(
            "a metrics record of another schema version cannot be used in a table",
            where=str(path),
            got=f"schema_version {version}",
            expected=f"schema_version {SCHEMA_VERSION}: paired comparisons, data version",
            fix="evaluate again with this version of the code",
        )
    if missing or version is None:
        raise EvaluationError(
            "a metrics file is not a metrics record",
            where=str(path),
            got=f"schema_version {version}, missing {missing}",
            expected=f"schema_version {SCHEMA_VERSION} with {list(_RECORD_KEYS)}",
            fix="evaluate again with this version of the code",
        )
    return record


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read a file of one metrics record or a list of them.

    Raises:
        EvaluationError: see `read_json` and `checked_record`.
    """
    content = read_json(path)
    listed = content if isinstance(content, list) else [content]
    return [checked_record(record, path) for record in listed]
