"""The furniture's model files: 820 folders of OBJ, materials, textures and an icon.

folder = prepare_models("data/furniture_models")     # 120 MB downloaded, 390 MB unpacked

<object_id>/<model>.obj, *.mtl, textures, icon.png (128 x 128), licence texts of the model
catalogue.json, ATTRIBUTION.md, LICENSES/, manifest.json
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from lavis.common.errors import DataError
from lavis.common.files import file_below
from lavis.datasets.download_scripts.archives import archive_files
from lavis.datasets.download_scripts.furniture.catalogue import (
    CATALOGUE_NAME,
    Model,
    parse_catalogue,
)
from lavis.datasets.download_scripts.packages import Package, fetch
from lavis.datasets.download_scripts.prepared import prepare_once
from lavis.datasets.manifest import write_json

PACKAGE = Package(
    *("debian", "sweethome3d-furniture", "1.8-1"),
    "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
    *(120, "CC-BY 3.0 and CC0, see ATTRIBUTION.md"),
)
FORMAT = 1
ICON_NAME = "icon.png"
_PROPERTIES, _LICENCE = "PluginFurnitureCatalog.properties", "LICENSE.TXT"
_ATTRIBUTION = """# Attribution of the furniture

Models of Sweet Home 3D's additional furniture libraries 1.8 (http://www.sweethome3d.com), collected
and converted to OBJ by Emmanuel Puybaret (eTeks), as packaged by Debian (sweethome3d-furniture).
The files are unchanged. Clouds and views that this project makes of them are sampled and rendered
from the models at the size of the catalogue.

"""


def prepare_models(folder: str | Path, packages: str | Path | None = None) -> Path:
    """Make sure that the model files are unpacked.

    Args:
        folder: the target.
        packages: where the downloaded package is kept; None: `packages` beside the target.

    Raises:
        DataError: the package cannot be downloaded, or is damaged.
    """
    kept = Path(folder).absolute().parent / "packages" if packages is None else Path(packages)
    return prepare_once(
        folder,
        {"format": FORMAT},
        lambda: {PACKAGE.name: PACKAGE.facts()},
        lambda work, final: unpack(fetch(PACKAGE, kept), final),
    )


def unpack(package: Path, final: Path) -> dict[str, Any]:
    """Write the files of every library of a package; return the counts."""
    models: list[Model] = []
    for name, content in archive_files(package, lambda n: n.endswith((".sh3f", "/copyright"))):
        if name.endswith("/copyright"):
            _write(final, "LICENSES/copyright.txt", content)
        else:
            models += unpack_library(content, PurePosixPath(name).stem, final)
    models.sort(key=lambda model: model.object_id)
    if len({model.object_id for model in models}) != len(models):
        raise DataError("two models of the package have one id", where=str(package))
    write_json(final / CATALOGUE_NAME, [model.to_json() for model in models])
    (final / "ATTRIBUTION.md").write_text(_ATTRIBUTION + _credits(models), encoding="utf-8")
    return {"objects": len(models)}


def unpack_library(content: bytes, library: str, final: Path) -> list[Model]:
    """Write the files of one .sh3f; return its models.

    Raises:
        DataError: a model or an icon of the catalogue is not in the archive.
    """
    files = dict(archive_files(content, where=library))
    entries = parse_catalogue(files[_PROPERTIES], library) if _PROPERTIES in files else []
    if _LICENCE in files:
        _write(final, f"LICENSES/{library}.txt", files[_LICENCE])
    for model, folder, icon in entries:
        below = f"{folder}/"
        own = {name.removeprefix(below): name for name in files if name.startswith(below)}
        if model.file not in own or icon not in files:
            what = "a model or its icon is missing in the package"
            raise DataError(what, where=f"{library}: {model.object_id}", got=sorted(own))
        for relative, name in {**own, ICON_NAME: icon}.items():
            _write(final, f"{model.object_id}/{relative}", files[name])
    return [entry.model for entry in entries]


def _write(final: Path, relative: str, content: bytes) -> None:
    path = file_below(final, relative)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _credits(models: list[Model]) -> str:
    """Return a table of the libraries and one of the creators."""
    lines = ["| library | licence | models |", "|---|---|---:|"]
    for library in sorted({model.library for model in models}):
        members = [model for model in models if model.library == library]
        lines.append(f"| {library} | {members[0].licence} | {len(members)} |")
    lines += ["", "| creator | models |", "|---|---|"]
    for creator in sorted({model.creator for model in models}):
        ids = ", ".join(model.object_id for model in models if model.creator == creator)
        lines.append(f"| {creator} | {ids} |")
    return "\n".join(lines) + "\n"
