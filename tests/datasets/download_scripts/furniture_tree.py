"""A few furniture models as `prepare_models` leaves them: painted boxes under real ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lavis.datasets.download_scripts.furniture.catalogue import CATALOGUE_NAME, Model
from lavis.datasets.download_scripts.furniture.models import FORMAT, ICON_NAME
from lavis.datasets.manifest import write_json, write_manifest

# Real ids, whose splits are frozen: train, val, test, held_out.
NAMES = {
    "blendswap-cc-0_antiqueChair": "Chair",
    "blendswap-cc-0_chair": "Chair",
    "blendswap-cc-0_chair2": "Chair",
    "blendswap-cc-0_oakChair": "Oak chair",
    "blendswap-cc-0_table": "Table",
    "blendswap-cc-0_poolTable": "Pool table",
    "blendswap-cc-0_technicalTable1": "Technical table",
    "blendswap-cc-by_cafe_set_mota_table": "Round table",
    "blendswap-cc-0_designChair": "Chair",
    "scopia_table3": "Table",
    "katorlegaz_office-chair": "Chair",
    "scopia_children_table": "Children table",
    "blendswap-cc-0_pianoAQueue": "Grand piano",
    "blendswap-cc-by_piano": "Upright piano",
}
BOX = """mtllib box.mtl
v -1 0 -1
v 1 0 -1
v 1 0 1
v -1 0 1
v -1 2 -1
v 1 2 -1
v 1 2 1
v -1 2 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl plain
f 1 2 3 4
f 1 2 6 5
f 2 3 7 6
f 3 4 8 7
f 4 1 5 8
usemtl picture
f 5/1 6/2 7/3 8/4
"""
MATERIALS = """newmtl plain
Kd 0 0 1

newmtl picture
Kd 1 1 1
map_Kd top.png
"""
RED, GREEN = (255, 0, 0), (0, 255, 0)


def model(object_id: str, name: str, size: tuple[float, float, float]) -> Model:
    """Return the catalogue's entry of a box."""
    return Model(
        *(object_id, name, ("Seat",), "Office", size),
        elevation=0.0,
        drop_height=None,
        movable=True,
        door_or_window=False,
        rotation=None,
        file="box.obj",
        library="Lib",
        creator="Somebody",
        licence="CC0",
    )


def write_models(folder: Path) -> Path:
    """Write boxes of different width: blue sides, a top with a red and a green half along x."""
    models = []
    for place, (object_id, name) in enumerate(NAMES.items()):
        own = folder / object_id
        own.mkdir(parents=True)
        (own / "box.obj").write_text(BOX)
        (own / "box.mtl").write_text(MATERIALS)
        Image.fromarray(np.array([[RED, GREEN]], np.uint8)).save(own / "top.png")
        Image.fromarray(np.full((128, 128, 3), place, np.uint8)).save(own / ICON_NAME)
        models.append(model(object_id, name, (0.5 + place / 10, 1.0, 0.5)))
    models.sort(key=lambda entry: entry.object_id)
    write_json(folder / CATALOGUE_NAME, [entry.to_json() for entry in models])
    (folder / "LICENSES").mkdir()
    (folder / "LICENSES/Lib.txt").write_text("terms")
    (folder / "ATTRIBUTION.md").write_text("# Attribution\n")
    write_manifest(folder, parameters={"format": FORMAT})
    return folder
