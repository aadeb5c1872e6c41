"""Files that a mesh names (materials, textures, buffers): read below the user's folder only."""

from __future__ import annotations

import io
import os
from pathlib import Path
from urllib.parse import unquote

from PIL import Image
from trimesh.resolvers import Resolver

from lavis.common.errors import DataError
from lavis.common.files import file_below

MAX_NEARBY_BYTES = 2**28
MAX_NEARBY_FILES = 1000
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tga", ".tif", ".tiff", ".gif", ".webp")


class NearbyFiles(Resolver):
    """Open what a mesh names, relative to its folder; nothing outside `root`, nothing by network.

    Args:
        root: the folder that the user gave.
        folder: of the mesh, below `root`.

    Attributes:
        missing: names that were not read, with the reason.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root.resolve(), folder
        self.missing: dict[str, str] = {}
        self._read = 0

    def get(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: it is missing, outside the folder, or too large; trimesh goes on without it.
        """
        try:
            return self._content(name.strip())
        except (DataError, ValueError, Image.DecompressionBombError) as error:
            self.missing[name] = str(error).split("\n", 1)[0]
            raise OSError(self.missing[name]) from error
        except OSError as error:
            self.missing[name] = error.strerror or str(error).split(" <", 1)[0]
            raise

    def _content(self, name: str) -> bytes:
        found = [path for path in map(self._path, _candidates(name)) if path.is_file()]
        if not found:
            raise FileNotFoundError(2, "not found", name)
        size = found[0].stat().st_size
        self._read += 1
        if size > MAX_NEARBY_BYTES or self._read > MAX_NEARBY_FILES:
            raise ValueError(f"{size:,} bytes, file {self._read}")
        content = found[0].read_bytes()
        if found[0].suffix.lower() in _IMAGES:  # trimesh goes on without a word when it is none
            Image.open(io.BytesIO(content)).close()
        return content

    def _path(self, name: str) -> Path:
        """Return the file of a name, in other capitals where there is none in these.

        Raises:
            DataError: it is outside the user's folder.
        """
        path = file_below(self.root, os.path.join(os.path.relpath(self.folder, self.root), name))
        if not path.exists() and path.parent.is_dir():
            alike = sorted(p for p in path.parent.iterdir() if p.name.lower() == path.name.lower())
            path = alike[0] if alike else path
        real = path.resolve()
        if not real.is_relative_to(self.root):
            what = "a link leads out of the folder"
            raise DataError(what, where=str(self.root), got=name)
        return real

    def keys(self) -> list[str]:
        """Return no names: nothing is searched for."""
        return []

    def namespaced(self, namespace: str) -> NearbyFiles:
        """Return this resolver: names stay relative to the mesh."""
        return self

    def write(self, name: str, data: object) -> None:
        """Refuse to write."""
        raise OSError("files are only read")


def _candidates(name: str) -> list[str]:
    """Return what a name may mean: exporters write backslashes, %20, and paths of their machine."""
    plain = name.replace("\\", "/")
    if plain.startswith("/") or plain[1:3] == ":/":
        return [plain.rsplit("/", 1)[-1]]
    return list(dict.fromkeys([plain, unquote(plain)]))
