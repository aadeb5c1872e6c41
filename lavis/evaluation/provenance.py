"""Strict, atomic JSON files and the provenance of results: hashes and the git commit.

Files are written to a temporary name in the same folder and moved, so a reader never sees half of
one; NaN and infinity are refused because JSON has no such numbers.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lavis.common.errors import EvaluationError
from lavis.common.files import replace_file
from lavis.common.strict_json import refuse_unwritable, to_plain


def _strict_json(value: Any, where: str, **options: Any) -> str:
    plain = to_plain(value)
    try:
        refuse_unwritable(plain)
        return json.dumps(plain, allow_nan=False, ensure_ascii=False, **options)
    except (ValueError, TypeError) as error:
        raise EvaluationError(
            "this cannot be written as strict JSON",
            where=where,
            got=str(error),
            expected="finite numbers, text, lists and mappings",
        ) from error


def write_json_atomic(path: str | Path, obj: Any) -> Path:
    """Write strict JSON so that `path` is either the old file or the whole new one.

    Raises:
        EvaluationError: NaN, infinity, half of a surrogate pair or an object that JSON does not
            know, with its place; `path` is untouched.
    """
    path = Path(path)
    replace_file(path, (_strict_json(obj, str(path), indent=2) + "\n").encode("utf-8"))
    return path


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a plain config; the order of keys does not matter, every value does."""
    return hashlib.sha256(_strict_json(config, "config", sort_keys=True).encode()).hexdigest()


def git_commit(root: str | Path) -> str | None:
    """Return the commit of the checkout at `root`, with "-dirty" when other files are changed.

    Tracked files count, all but docs/test_final_log.jsonl: a test-final evaluation appends to it.

    Returns:
        40 hexadecimal digits, perhaps with "-dirty"; None outside git.
    """
    changes = ["status", "--porcelain", "--untracked-files=no", "--", ":/"]
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, *changes, ":(exclude,top)docs/test_final_log.jsonl")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit or None


def _git(root: str | Path, *arguments: str) -> str:
    """Return what a git command prints, without the line's end."""
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return found.stdout.strip()
