"""Python code in a folder of weights: never run, unless the recipe allows the folder by its hash.

    model:
      llm: /models/internlm
      allowed_code: 5e1c…   # SHA-256 of the folder's *.py files, which the refusal prints

transformers imports such files with trust_remote_code, and prompts at the terminal otherwise.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from lavis.common.errors import ConfigError
from lavis.common.files import file_sha256

KEY = "model.allowed_code"
_allowed: set[str] = set()


def allow_code(digest: object, where: str) -> None:
    """Allow the folder of this hash for the models built from now on; None allows none.

    Raises:
        ConfigError: not a SHA-256.
    """
    _allowed.clear()
    if digest is None:
        return
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ConfigError(
            "a folder of code is allowed by its hash",
            where=f"{where}: {KEY}",
            got=digest,
            expected="64 hexadecimal digits, which the refusal of the folder prints",
        )
    _allowed.add(digest)


def code_hash(folder: str | Path) -> str | None:
    """Return the SHA-256 over names and contents of a folder's *.py files; None without any."""
    folder = Path(folder)
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else []
    lines = [f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else None


def is_allowed(folder: str | Path) -> bool:
    """Return whether the recipe allows exactly this code."""
    return code_hash(folder) in _allowed
