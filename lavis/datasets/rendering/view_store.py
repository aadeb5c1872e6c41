"""Rendered views of a data set in one file: a zip of PNG images, named `<object_id>/<view>.png`.

One file instead of four small ones per object; images are compressed already and only stored.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lavis.common.errors import DataError
from lavis.common.strict_json import parse_json


def encode_png(pixels: np.ndarray) -> bytes:
    """Return uint8 pixels [H,W,3] as PNG."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def zip_entry(name: str) -> zipfile.ZipInfo:
    """Return an entry of a fixed date, so that equal content gives equal bytes."""
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))


def write_facts(file: zipfile.ZipFile, facts: Mapping[str, Any] | None) -> None:
    """Keep what a file is made of as its comment."""
    if facts is not None:
        file.comment = json.dumps(facts, sort_keys=True).encode()


def facts_of(path: Path) -> dict[str, Any] | None:
    """Return what `write_facts` kept; None for no such file, a damaged one, or one without."""
    try:
        with zipfile.ZipFile(path) as file:
            return parse_json(file.comment.decode()) if file.comment else None
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


class ViewWriter:
    """Writes a new file; `with ViewWriter(path) as views: views.add("378", pixels)`.

    Args:
        path: the file.
        facts: what it is made of, for `facts_of`.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any] | None = None) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        write_facts(self._zip, facts)

    def __enter__(self) -> ViewWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def add(self, object_id: str, encoded: list[bytes]) -> None:
        """Add the views of an object, PNG each."""
        for view, content in enumerate(encoded):
            self._zip.writestr(zip_entry(f"{object_id}/{view}.png"), content)


class ViewStore:
    """Reads views by object; every process opens the file for itself.

    Args:
        path: of a file that `ViewWriter` made.

    Attributes:
        ids: the objects, in the order of the file.
        num_views: of every object.

    Raises:
        DataError: no such file, a damaged one, or objects with different numbers of views.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        names = self._open().namelist()
        parts = [name.rpartition("/") for name in names]
        self.ids = list(dict.fromkeys(object_id for object_id, _, _ in parts))
        self.num_views = len(names) // max(len(self.ids), 1)
        if not names or len(names) != self.num_views * len(self.ids):
            got = f"{len(names)} images of {len(self.ids)} objects"
            what = "a file of views needs as many for every object"
            raise DataError(what, where=str(self.path), got=got)
        self._zip: zipfile.ZipFile | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_zip": None}  # a worker has a file position of its own

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            what = "a file of rendered views cannot be read"
            raise DataError(what, where=str(self.path), got=str(error)) from error

    def load(self, object_id: str) -> np.ndarray:
        """Return the views of an object: uint8 [V,H,W,3].

        Raises:
            DataError: the file does not have the object, or is damaged.
        """
        return np.stack([self.load_view(object_id, view) for view in range(self.num_views)])

    def load_view(self, object_id: str, view: int, mode: str | None = "RGB") -> np.ndarray:
        """Return one view: uint8 [H,W,3], or as stored where `mode` is None (depth, ids).

        Raises:
            DataError: the file does not have the view, or is damaged.
        """
        from PIL import Image

        self._zip = self._zip or self._open()
        name = f"{object_id}/{view}.png"
        try:
            with Image.open(io.BytesIO(self._zip.read(name))) as image:
                return np.asarray(image.convert(mode) if mode else image)
        except (KeyError, OSError, zipfile.BadZipFile, SyntaxError) as error:
            where, what = f"{self.path}: {name}", "a rendered view cannot be read"
            raise DataError(what, where=where, got=str(error)) from error
