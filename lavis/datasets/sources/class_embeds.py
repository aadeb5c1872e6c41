"""Embeddings of class names that come with a release, for models whose text teacher is absent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lavis.datasets.readers.pickled_arrays import read_pickled

FEATURES = "open_clip_text_feat"  # of OpenShape's mappings


def read_class_embeds(path: Path, names: Sequence[str]) -> np.ndarray:
    """Return float32 [K,E] in the order of `names`.

    Args:
        path: OpenShape's lvis_cat_name_pt_feat.npy, an array in the order of the classes; or
            cat_name_pt_feat.npy, a mapping {name: {"open_clip_text_feat": [1,E]}}.
        names: of the classes; "_" of the mapping's names counts as a space.

    Raises:
        OSError, ValueError: the file cannot be read, or does not fit the classes.
    """
    content = read_pickled(path)
    if isinstance(content, dict):
        found = {str(name).replace("_", " "): one for name, one in content.items()}
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"no embedding of {missing[:5]}")
        rows = [found[name] for name in names]
        rows = [row[FEATURES] if isinstance(row, dict) else row for row in rows]
        content = np.stack([np.asarray(row).reshape(-1) for row in rows])
    if not isinstance(content, np.ndarray) or content.dtype.kind != "f" or content.ndim != 2:
        raise ValueError("no array [K,E] and no mapping of class names")
    if len(content) != len(names):
        raise ValueError(f"{len(content)} embeddings for {len(names)} classes")
    return content.astype(np.float32)
