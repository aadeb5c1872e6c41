"""Paths and small file helpers; replaces the stock module (pandas, iopath, torchvision).

Same names and meanings for what the rest of LAVIS uses. Downloading is left to the user: nothing in
the default path fetches from a hub, and a missing file names the key and the place to get it.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any
from urllib.parse import urlparse

from lavis.common.registry import registry

from lavis.common.text_files import read_json


def now() -> str:
    """Return the time to the second. Stock drops the last digit, so runs minutes apart collide."""
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def is_url(url_or_filename: str) -> bool:
    """Return whether the string is an http(s) address."""
    return urlparse(str(url_or_filename)).scheme in ("http", "https")


def get_cache_path(rel_path: str) -> str:
    """Resolve a path below `cache_root` (configs/default.yaml); absolute paths stay as they are."""
    return os.path.expanduser(os.path.join(registry.get_path("cache_root"), rel_path))


def get_abs_path(rel_path: str) -> str:
    """Resolve a path below the repository root; absolute paths stay as they are."""
    return os.path.join(registry.get_path("library_root"), os.path.expanduser(rel_path))


def load_json(filename: str) -> Any:
    """Read one JSON file."""
    return read_json(filename)
