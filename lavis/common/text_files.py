"""Read the text files that users give: captions, ids, yaml, JSON, CSV.

Windows' editors and spreadsheets put a byte-order mark before UTF-8, and PowerShell's `>` writes
UTF-16 with one. The mark is no part of the text. It decides the encoding here, so a file with a
mark means the same as the file without it.
"""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from lavis.common.strict_json import parse_json

_MARKED = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: str | Path) -> str:
    """Return the text of a file without its byte-order mark; line ends become newlines.

    Raises:
        OSError: the file cannot be opened.
        UnicodeDecodeError: a ValueError: not UTF-8, and not UTF-16 with a mark.
    """
    return decode(Path(path).read_bytes())


def decode(content: bytes) -> str:
    """Return bytes as text (see `read_text`)."""
    encoding = next((name for mark, name in _MARKED if content.startswith(mark)), "utf-8")
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: the file cannot be opened.
        ValueError: not text as `read_text` reads it, or not JSON as `parse_json` reads it.
    """
    return parse_json(read_text(path))
