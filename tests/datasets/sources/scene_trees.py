"""Small trees of scenes in the released layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.datasets.sources.trees import write

LABELS_TSV = (
    "id\traw_category\tcategory\tcount\tnyu40id\teigen13id\tnyuClass\tnyu40class\n"
    "1\twall\twall\t8277\t1\t12\twall\twall\n"
    "2\tfloor\tfloor\t2000\t2\t5\tfloor\tfloor\n"
    "3\toffice chair\tchair\t4646\t5\t4\tchair\tchair\n"
    "4\tnight table\tnightstand\t20\t32\t9\tnight stand\tnight stand\n"
    "5\tcouch\tcouch\t502\t6\t9\tsofa\tsofa\n"
)
# A scan of six segments with ten vertices each: wall, floor, two chairs, a night table, nothing.
SEGMENTS = np.repeat([7, 3, 12, 5, 9, 1], 10)
GROUPS = [("wall", [7]), ("floor", [3]), ("office chair", [12]), ("office chair", [5])]
GROUPS += [("night table", [9])]
ALIGNMENT = np.array([[0, -1, 0, 2], [1, 0, 0, 3], [0, 0, 1, 0.5], [0, 0, 0, 1]])


def vertices(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return xyz float32 [60,3] with up +z, and rgb uint8 [60,3]."""
    rng = np.random.default_rng(seed)
    xyz = rng.uniform([0, 0, 0], [6, 4, 2.5], (60, 3)).astype(np.float32)
    return xyz, rng.integers(0, 256, (60, 3), dtype=np.uint8)


def write_ply(path: Path, xyz: np.ndarray, rgb: np.ndarray) -> None:
    """Write a mesh as ScanNet does: x y z red green blue alpha, and faces as lists."""
    fields = [(n, "<f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue", "alpha")]
    rows = np.zeros(len(xyz), fields)
    for place, name in enumerate("xyz"):
        rows[name] = xyz[:, place]
    for place, name in enumerate(("red", "green", "blue")):
        rows[name] = rgb[:, place]
    kinds = {"<f4": "float", "u1": "uchar", "|u1": "uchar"}
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(xyz)}"]
    head += [f"property {kinds[kind]} {name}" for name, kind in fields]
    head += ["element face 1", "property list uchar int vertex_indices", "end_header"]
    face = b"\x03" + np.array([0, 1, 2], "<i4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(head).encode() + b"\n" + rows.tobytes() + face)


def scannet(root: Path) -> None:
    """Two scans to train on, one to validate."""
    lists = {"train": ["scene0000_00", "scene0001_00"], "val": ["scene0002_00"]}
    write(root / "scannet/scannetv2-labels.combined.tsv", LABELS_TSV)
    for split, scenes in lists.items():
        write(root / f"scannet/scannetv2_{split}.txt", "\n".join(scenes) + "\n")
        for scene in scenes:
            folder = root / "scannet/scans" / scene
            write_ply(folder / f"{scene}_vh_clean_2.ply", *vertices(int(scene[5:9])))
            groups = [
                {"id": n, "objectId": n, "segments": segments, "label": label}
                for n, (label, segments) in enumerate(GROUPS)
            ]
            names = {"sceneId": f"scannet.{scene}", "appId": "Aggregator.v2"}
            write(folder / f"{scene}.aggregation.json", json.dumps({**names, "segGroups": groups}))
            segments = {"params": {"kThresh": "0.01"}, "segIndices": SEGMENTS.tolist(), **names}
            path = folder / f"{scene}_vh_clean_2.0.010000.segs.json"
            write(path, json.dumps(segments))
            numbers = " ".join(f"{value:.6f}" for value in ALIGNMENT.ravel())
            write(folder / f"{scene}.txt", f"axisAlignment = {numbers}\nnumColorFrames = 5\n")


def s3dis_rows(seed: int, count: int = 40) -> np.ndarray:
    """Return x y z r g b as the release writes them: [count,6]."""
    rng = np.random.default_rng(seed)
    xyz = np.round(rng.uniform([-20, 3, 0], [-15, 8, 3], (count, 3)), 3)
    return np.concatenate([xyz, rng.integers(0, 256, (count, 3))], 1)


S3DIS_OBJECTS = ("ceiling_1", "floor_1", "chair_1", "chair_2", "table_1", "stairs_1")


def s3dis(root: Path) -> None:
    """One room in each of the six areas."""
    for area in range(1, 7):
        room = root / f"s3dis/Stanford3dDataset_v1.2_Aligned_Version/Area_{area}/conferenceRoom_1"
        tables = {name: s3dis_rows(10 * area + n) for n, name in enumerate(S3DIS_OBJECTS)}
        texts = {
            name: "".join(" ".join(f"{value:g}" for value in row) + "\r\n" for row in rows)
            for name, rows in tables.items()
        }
        for name, text in texts.items():
            write(room / "Annotations" / f"{name}.txt", text)
        write(room / "conferenceRoom_1.txt", "".join(texts.values()))
        write(room.parent / ".DS_Store", "")


SUNRGBD_FRAMES = {
    "alltrain": ["kv1/NYUdata/NYU0001", "kv2/kinect2data/000002_2014-05-26_14-23-37_rgbf000103"],
    "alltest": ["xtion/sun3ddata/brown_bm_1/brown_bm_1/0000103-000003435373"],
}
INTRINSICS = ((30.0, 0, 20.5), (0, 31.0, 15.5), (0, 0, 1))
DEPTH_STEPS = 1500  # millimetres in every pixel but the first


def tilt() -> np.ndarray:
    """A camera that looks down by 10 degrees."""
    cos, sin = np.cos(np.radians(10)), np.sin(np.radians(10))
    return np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])


def sunrgbd_frame(folder: Path, width: int = 40, height: int = 30) -> None:
    """Write one frame of 40 x 30 pixels."""
    (folder / "image").mkdir(parents=True)
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(folder / "image" / "0000001.jpg")
    depth = np.full((height, width), DEPTH_STEPS, np.uint16)
    depth[0, 0] = 0
    for kind in ("depth", "depth_bfx"):
        (folder / kind).mkdir()
        Image.fromarray((depth << 3) | (depth >> 13)).save(folder / kind / "0000001.png")
    numbers = " ".join(f"{value:.6f}" for row in INTRINSICS for value in row)
    write(folder / "intrinsics.txt", numbers + "\n")
    rows = "\n".join(" ".join(f"{v:.6f}" for v in [*row, 0.0]) for row in tilt())
    write(folder / "extrinsics" / "20140808220511.txt", rows + "\n")
    write(folder / "scene.txt", "living_room")
    polygons = [
        {"object": 0, "x": [0, 39, 39, 0], "y": [0, 0, 29, 29]},
        {"object": 1, "x": [10, 20, 20, 10], "y": [10, 10, 20, 20]},
        {"object": 3, "x": [30, 35, 35], "y": [2, 2, 9]},
        {"object": 1, "x": 3, "y": 4},
    ]
    objects = [{"name": "wall"}, {"name": "night_stand:truncated"}, None, {"name": "gizmo"}]
    content = {"frames": [{"polygon": polygons}], "objects": objects}
    write(folder / "annotation2Dfinal/index.json", json.dumps(content))
    box = {"X": [0.0, 1.0, 1.0, 0.0], "Z": [2.0, 2.0, 1.5, 1.5], "Ymin": 0.2, "Ymax": 0.9}
    boxes = [{"name": "chair", "polygon": [box]}, None, {"name": "gizmo", "polygon": [box]}]
    write(folder / "annotation3Dfinal/index.json", json.dumps({"objects": boxes}))


def sunrgbd(root: Path) -> None:
    """Two frames to train on, one to test, the lists in a .mat as released."""
    for frames in SUNRGBD_FRAMES.values():
        for frame in frames:
            sunrgbd_frame(root / "sunrgbd/SUNRGBD" / frame)
    lists = {
        name: np.array([f"/n/fs/sun3d/data/SUNRGBD/{frame}" for frame in frames], object)
        for name, frames in SUNRGBD_FRAMES.items()
    }
    folder = root / "sunrgbd/SUNRGBDtoolbox/traintestSUNRGBD"
    folder.mkdir(parents=True)
    savemat(folder / "allsplit.mat", lists)
