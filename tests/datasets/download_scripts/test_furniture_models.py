"""The furniture's catalogue and model files, read from a small package in the same layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavis.common.errors import DataError
from lavis.datasets.download_scripts.furniture.catalogue import parse_catalogue, read_models
from lavis.datasets.download_scripts.furniture.models import unpack
from lavis.datasets.manifest import write_manifest
from tests.datasets.download_scripts.test_archives import deb_bytes, zip_bytes

PROPERTIES = """# \xa9 somebody
license=CC-BY 3.0 \xa9 somebody
id#1=Lib#lamp
name#1=Lamp 5\\u20ac
tags#1=Blend Swap, Light, SCPTS
category#1=Lights
icon#1=/lib/lamp.png
model#1=/lib/lamp/lamp.obj
width#1=20
depth#1=10.5
height#1=40
elevation#1=120
dropOnTopElevation#1=-1
modelRotation#1=1 0 0 0 0 1 0 -1 0
movable#1=true
doorOrWindow#1=false
creator#1=Somebody

id#2=Lib#table
name#2=Table
tags#2=
category#2=Office
icon#2=/lib/table.png
model#2=/lib/table/table.obj
width#2=100
depth#2=60
height#2=75
movable#2=true
doorOrWindow#2=false
"""
FILES = {
    "PluginFurnitureCatalog.properties": PROPERTIES.encode("latin-1"),
    "LICENSE.TXT": b"terms",
    **{"lib/lamp.png": b"icon", "lib/table.png": b"icon", "lib/lamp/lamp.obj": b"v 0 0 0"},
    **{"lib/lamp/lamp.mtl": b"newmtl a", "lib/table/table.obj": b"v 1 1 1"},
}


def package(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "package.deb"
    path.write_bytes(deb_bytes({"./usr/furniture/Lib.sh3f": zip_bytes(files)}))
    return path


def test_lengths_become_metres_and_tags_lose_their_provenance() -> None:
    lamp, table = (entry.model for entry in parse_catalogue(PROPERTIES.encode("latin-1"), "Lib"))
    assert (lamp.object_id, lamp.name, lamp.tags) == ("lib_lamp", "Lamp 5€", ("Light",))
    assert lamp.size == (0.2, 0.4, 0.105)
    assert lamp.elevation == 1.2
    assert lamp.drop_height is None
    assert table.drop_height == 0.75
    assert lamp.rotation == (1, 0, 0, 0, 0, 1, 0, -1, 0)
    assert table.rotation is None
    assert lamp.licence.startswith("CC-BY 3.0")


def test_models_are_unpacked_with_their_materials_and_icons(tmp_path: Path) -> None:
    final = tmp_path / "models"
    final.mkdir()
    assert unpack(package(tmp_path, FILES), final) == {"objects": 2}
    write_manifest(final)
    assert list(read_models(final)) == ["lib_lamp", "lib_table"]
    assert sorted(p.name for p in (final / "lib_lamp").iterdir()) == [
        *("icon.png", "lamp.mtl", "lamp.obj")
    ]
    assert "Somebody | lib_lamp" in (final / "ATTRIBUTION.md").read_text()
    assert (final / "LICENSES/Lib.txt").read_bytes() == b"terms"


def test_a_model_without_its_file_is_named(tmp_path: Path) -> None:
    files = {name: content for name, content in FILES.items() if name != "lib/table/table.obj"}
    with pytest.raises(DataError, match="lib_table"):
        unpack(package(tmp_path, files), tmp_path / "models")


@pytest.mark.parametrize(("old", "new"), [("width#2=100\n", ""), ("depth#2=60", "depth#2=0")])
def test_an_entry_without_a_size_is_named(old: str, new: str) -> None:
    with pytest.raises(DataError, match="Lib: #2"):
        parse_catalogue(PROPERTIES.replace(old, new).encode("latin-1"), "Lib")


def test_a_missing_catalogue_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="prepare_furniture"):
        read_models(tmp_path)
