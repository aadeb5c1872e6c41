"""The files of Objaverse in the PointBLIP release: captions by uid, a training list, npz clouds.

`read_captions` and `read_ids` read the files. `HeldOut` lists the objects that never train.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.errors import ConfigError, DataError
from lavis.common.text_files import read_json, read_text
from lavis.datasets.stores.point_stores import FilePointStore


def read_captions(path: Path, key: str) -> dict[str, Any]:
    """Read {uid: caption}.

    Args:
        path: a JSON file such as merged_data_new.json.
        key: the yaml key that named it, for messages.

    Raises:
        DataError: missing, not JSON, or not one mapping with entries.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise _bad_file("a caption file cannot be read", path, key, error) from error
    if not isinstance(content, dict) or not content:
        got = type(content).__name__ if content else "nothing"
        raise _bad_file("a caption file is one mapping {uid: caption}", path, key, got)
    return content


def read_ids(path: Path, key: str) -> list[str]:
    """Read one uid a line; blank lines are skipped, repeated uids are used once.

    Raises:
        DataError: missing, not text, or without a uid.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise _bad_file("a list of uids cannot be read", path, key, error) from error
    given = [line.strip() for line in lines if line.strip()]
    if not given:
        raise _bad_file("a list of uids is empty", path, key, "no uid")
    ids = list(dict.fromkeys(given))
    if len(ids) < len(given):
        logging.warning("%s: %d repeated uids are used once", path, len(given) - len(ids))
    return ids


def open_store(folder: Path, pattern: str, array_name: str, key: str) -> FilePointStore:
    """Return the store of one file per object.

    Raises:
        ConfigError: the pattern does not depend on {object_id} alone.
    """
    store = FilePointStore(folder, pattern, array_name)
    try:
        depends = store.path("a") != store.path("b")
    except (KeyError, IndexError, ValueError, AttributeError):
        depends = False
    if not depends:
        raise ConfigError(
            "the pattern does not name one file per object",
            where=key,
            got=pattern,
            expected='text with {object_id}, e.g. "{object_id}/{object_id}_8192.npz"',
        )
    return store


def _bad_file(what: str, path: Path, key: str, got: object) -> DataError:
    got = f"{type(got).__name__}: {got}" if isinstance(got, Exception) else got
    return DataError(
        what, where=f"{key}: {path}", got=got, fix="restore the file or correct the key"
    )


@dataclass(frozen=True)
class HeldOut:
    """Which objects are never trained on: a function of the uid, the same in every builder.

    Attributes:
        train_ids: the training list.
        test_ids: a list that settles it; None holds out what is not in the training list, and of
            the list the share `fraction`.
        fraction: share in [0,1) of the training list, chosen by a hash of uid and seed.
        seed: of that choice.
    """

    train_ids: Collection[str]
    test_ids: Collection[str] | None = None
    fraction: float = 0.0
    seed: int = 0

    def __contains__(self, uid: str) -> bool:
        if self.test_ids is not None:
            return uid in self.test_ids
        return uid not in self.train_ids or hash_share(uid, self.seed) < self.fraction


def hash_share(uid: str, seed: int) -> float:
    """Return a number in [0,1) that depends on uid and seed alone."""
    digest = hashlib.sha256(f"{seed}:{uid}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def word_remover(words: Sequence[str]) -> Callable[[str], str]:
    """Return a function that takes whole words out of a caption, each with the space before it.

    The release cuts " red" everywhere and so turns " reddish" into "dish"; here only whole
    words go, and "red-haired" stays.
    """
    if not words:
        return lambda caption: caption
    choices = "|".join(re.escape(word) for word in words)
    pattern = re.compile(rf"(?:^|\s+)(?:{choices})(?![\w-])", re.IGNORECASE)
    return lambda caption: pattern.sub("", caption).strip()
