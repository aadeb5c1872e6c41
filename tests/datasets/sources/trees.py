"""Small trees of files in the released layouts."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from lavis.common.registry import registry
from omegaconf import DictConfig, OmegaConf

import lavis  # noqa: F401  (registers builders)
from lavis.datasets.builders.base_dataset_builder import load_dataset_config


def random_cloud(seed: int, columns: int = 3, points: int = 64) -> np.ndarray:
    """Return float32 [points, 3|6], colours in [0,1]."""
    rng = np.random.default_rng(seed)
    xyz = rng.standard_normal((points, 3))
    return np.concatenate([xyz, rng.random((points, columns - 3))], 1).astype(np.float32)


def config(root: Path, name: str, kind: str = "default", *changes: str) -> DictConfig:
    """Return a builder's yaml with every `storage` below `root` and 32 points a cloud."""
    cfg = load_dataset_config(registry.get_builder_class(name).default_config_path(kind))
    below(cfg.build_info, root)
    cfg.point_processor.train.num_points = cfg.point_processor.eval.num_points = 32
    return OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(changes)))


def below(section: DictConfig, root: Path) -> None:
    """Put every path named `storage` of a section below `root`."""
    for key, value in section.items():
        if isinstance(value, DictConfig):
            below(value, root)
        elif key == "storage" and value is not None:
            paths = [value] if isinstance(value, str) else list(value)
            moved = [str(root / path) for path in paths]
            section[key] = moved[0] if isinstance(value, str) else moved


def build(root: Path, name: str, kind: str = "default", *changes: str) -> dict:
    """Build the data sets of a builder."""
    builder = registry.get_builder_class(name)
    return builder(config(root, name, kind, *changes)).build_datasets()


def write(path: Path, text: str) -> Path:
    """Write a text file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def modelnet40_text(root: Path) -> None:
    """Four objects to train on and two to test, with normals."""
    folder = root / "modelnet40_normal_resampled"
    lists = {
        "train": ["airplane_0001", "airplane_0002", "flower_pot_0001", "night_stand_0001"],
        "test": ["airplane_0627", "flower_pot_0150"],
    }
    for split, ids in lists.items():
        write(folder / f"modelnet40_{split}.txt", "\n".join(ids) + "\n")
        for number, object_id in enumerate(ids):
            cloud = random_cloud(number)
            normals = cloud / np.linalg.norm(cloud, axis=1, keepdims=True)
            rows = np.concatenate([cloud, normals], 1)
            text = "\n".join(",".join(f"{value:.6f}" for value in row) for row in rows)
            write(folder / object_id.rpartition("_")[0] / f"{object_id}.txt", text + "\n")


SCANOBJECTNN_FILES = {
    "pb_t50_rs": "main_split/{}_objectdataset_augmentedrot_scale75.h5",
    "obj_bg": "main_split/{}_objectdataset.h5",
    "obj_only": "main_split_nobg/{}_objectdataset.h5",
}


def scanobjectnn(root: Path, variant: str = "pb_t50_rs") -> None:
    """Four objects to train on and two to test."""
    h5py = pytest.importorskip("h5py")
    for split, labels in {"training": [0, 5, 14, 5], "test": [14, 5]}.items():
        path = root / "scanobjectnn/h5_files" / SCANOBJECTNN_FILES[variant].format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["data"] = np.stack([random_cloud(row) for row in range(len(labels))])
            file["label"] = np.array(labels, np.int32)
            file["mask"] = np.zeros((len(labels), 64), np.int32)


CORRUPT = ("6760e543e1d645d5aaacd3803bcae524", "b91c0711149d460a8004f9c06d3b7f38")


def turns(*texts: str) -> list[dict[str, str]]:
    """Return a conversation of human and gpt; the first instruction names the cloud."""
    values = [f"<point>\n{texts[0]}", *texts[1:]]
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


def pointllm(root: Path) -> None:
    """Three usable objects and a corrupt one to train on; one more is tested."""
    uids = [f"{number:032x}" for number in range(4)]
    points = root / "pointllm/8192_npy"
    points.mkdir(parents=True)
    for number, uid in enumerate(uids):
        np.save(points / f"{uid}_8192.npy", random_cloud(number, 6))
    asked = "Summarize the 3D point cloud object briefly."
    brief = [
        {"object_id": uid, "conversations": turns(asked, f"A red chair number {number}.")}
        for number, uid in enumerate([*uids, CORRUPT[0]])
    ]
    complex_ = [
        {
            "object_id": uids[0],
            "conversation_type": "multi_round",
            "conversations": turns("What is it?", "A chair.", "And its colour?", "Red."),
        },
        {
            "object_id": uids[1],
            "conversation_type": "single_round",
            "conversations": turns("Who would use it?", "Children."),
        },
        {
            "object_id": uids[2],
            "conversation_type": "detailed_description",
            "conversations": turns("Describe it in detail.", "A red chair with four legs."),
        },
    ]
    tested = [brief[3]]
    for name, content in {
        "brief_description_660K_filtered": brief,
        "brief_description_val_200_GT": tested,
        "complex_instruction_70K": complex_,
        "complex_test": [{**complex_[1], "object_id": uids[3]}],
    }.items():
        write(root / f"pointllm/anno_data/PointLLM_{name}.json", json.dumps(content))


def cap3d(root: Path) -> None:
    """Four captioned clouds of ULIP-2, one of them tested; one uid has no caption."""
    uids = [f"{number:032x}" for number in range(5)]
    rows = [f'{uid},"A red chair, number {number}."' for number, uid in enumerate(uids[:4])]
    write(root / "cap3d/Cap3D_automated_Objaverse_full.csv", "\n".join(rows) + "\n")
    write(root / "objaverse/common_ids.txt", "\n".join(uids) + "\n")
    write(root / "cap3d/test_ids.txt", uids[3] + "\n")
    for number, uid in enumerate(uids[:4]):
        folder = root / "objaverse/objaverse_pc_parallel" / uid
        folder.mkdir(parents=True)
        np.savez(folder / f"{uid}_8192.npz", random_cloud(number))


def gpt4point(root: Path) -> None:
    """Three clouds with a caption each, one without colour; a test object with two captions."""
    folder = root / "cap3d/points/Cap3D_pcs_8192_xyz_w_color"
    folder.mkdir(parents=True)
    records = [
        {"point": f"points/Cap3D_pcs_8192_xyz_w_color/{number}.pkl", "caption": f"Chair {number}."}
        for number in range(4)
    ]
    for number in range(4):
        cloud = random_cloud(number, 3 if number == 2 else 6)
        (folder / f"{number}.pkl").write_bytes(pickle.dumps(cloud))
    for name, content in {
        "cap3d_caption_train": records[:3],
        "cap3d_caption_val": records[1:2],
        "cap3d_real_and_chatgpt_caption_test": [records[3], {**records[3], "caption": "A seat."}],
    }.items():
        write(root / f"cap3d/annotations/{name}.json", json.dumps(content))


def scenes(root: Path, names: Sequence[str]) -> None:
    """Write ScanNet's meshes: vertices with colours and opacity, one face; each is 2 units high."""
    for number, name in enumerate(names):
        cloud = random_cloud(number, 6, 100)
        cloud[:, 2] = np.linspace(0, 2, 100)
        head = ["ply", "format ascii 1.0", "element vertex 100"]
        head += [f"property float {axis}" for axis in "xyz"]
        head += [f"property uchar {part}" for part in ("red", "green", "blue", "alpha")]
        head += ["element face 1", "property list uchar int vertex_indices", "end_header"]
        rows = [f"{x} {y} {z} {int(r * 255)} 0 255 255" for x, y, z, r, _, _ in cloud]
        text = "\n".join([*head, *rows, "3 0 1 2"])
        write(root / f"scannet/scans/{name}/{name}_vh_clean_2.ply", text + "\n")


def scanqa(root: Path) -> None:
    """Two scenes to train on, one to validate."""
    names = [f"scene{number:04d}_00" for number in range(3)]
    scenes(root, names)
    questions = [
        {
            "scene_id": names[scene],
            "object_ids": [8],
            "object_names": ["cabinet"],
            "question_id": f"{'val' if scene == 2 else 'train'}-scene{scene:04d}-{number}",
            "question": question,
            "answers": answers,
        }
        for scene, number, question, answers in [
            (0, 0, "What is beside the bed?", ["brown cabinet", "cabinet"]),
            (0, 1, "Where is the chair?", ["by the desk"]),
            (1, 2, "How many windows are there?", ["2"]),
            (2, 3, "Is the door open?", ["yes"]),
        ]
    ]
    write(root / "scanqa/ScanQA_v1.0_train.json", json.dumps(questions[:3]))
    write(root / "scanqa/ScanQA_v1.0_val.json", json.dumps(questions[3:]))


def sqa3d(root: Path) -> None:
    """A scene and a question for each split."""
    splits = ("train", "val", "test")
    scenes(root, [f"scene{number:04d}_00" for number in range(3)])
    for number, split in enumerate(splits):
        question = {
            "scene_id": f"scene{number:04d}_00",
            "situation": "I am facing a bed.",
            "alternative_situation": ["I look at a bed."],
            "question": "What is on my left?",
            "question_id": 220602000000 + number,
        }
        answer = {
            "scene_id": question["scene_id"],
            "question_id": question["question_id"],
            "question_type": "N/A",
            "answer_type": "other",
            "answers": [{"answer": "lamp", "answer_confidence": "yes", "answer_id": 1}],
            "position": {"x": 0.0, "y": 0.0, "z": 0.0},
            "rotation": {"_x": 0, "_y": 0, "_z": 0.0, "_w": 1.0},
        }
        for kind, content in (("questions", question), ("sqa_annotations", answer)):
            body = {"info": {}, kind.rpartition("_")[2]: [content]}
            path = f"sqa3d/balanced/v1_balanced_{kind}_{split}_scannetv2.json"
            write(root / path, json.dumps(body))


def feature(value: float, width: int = 8) -> np.ndarray:
    """Return a feature as OpenShape stores it: [1,E], filled with a value."""
    return np.full((1, width), value, np.float32)


def openshape_record(number: int, name: str, **changes: object) -> dict[str, object]:
    """Return the record of an object; views are filled with 0, 1, 2 …, the thumbnail with -1."""
    cloud = random_cloud(number, 6)

    def texts(value: float) -> dict[str, np.ndarray]:
        return {"original": feature(value), "prompt_avg": feature(value + 0.5)}

    return {
        "dataset": "Objaverse",
        "group": "000-000",
        "id": name,
        "xyz": cloud[:, :3],
        "rgb": cloud[:, 3:],
        "image_feat": np.concatenate([feature(view) for view in range(12)]),
        "thumbnail_feat": feature(-1),
        "text": [f"Chair {number}", "another name"],
        "text_feat": [texts(100), texts(110)],
        "blip_caption": "a red chair",
        "blip_caption_feat": texts(200),
        "msft_caption": "a chair on a floor",
        "msft_caption_feat": texts(300),
        "retrieval_text": ["old chair", "chair 3d model"],
        "retrieval_text_feat": [{"original": feature(400)}, {"original": feature(410)}],
        **changes,
    }


def write_record(path: Path, record: dict[str, object]) -> None:
    """Write a pickled mapping as `np.save` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(record, dtype=object), allow_pickle=True)


RECORDS = "objaverse-processed/merged_for_training_final"


def openshape(root: Path) -> None:
    """Three objects of Objaverse and one of ShapeNet to train on; one more to validate."""
    base, names = root / "openshape", [f"{number:032x}" for number in range(4)]
    listed = []
    for number, name in enumerate([*names, "1a2b"]):
        dataset = "ShapeNet" if name == "1a2b" else "Objaverse"
        group = "02691156" if name == "1a2b" else "000-000"
        path = f"{RECORDS}/{dataset}/{group}/{name}.npy"
        write_record(base / path, openshape_record(number, name, dataset=dataset, group=group))
        listed += [
            {"dataset": dataset, "group": group, "id": name, "data_path": f"/mnt/data/{path}"}
        ]
    split = base / "meta_data/split"
    for name, chosen in {
        "train_all": listed,
        "train_no_lvis": listed[1:],
        "ablation/train_shapenet_only": listed[4:],
        "own_val": listed[3:4],
    }.items():
        write(split / f"{name}.json", json.dumps(chosen))
    flags = {name: {"flag": "N" if name == names[0] else "Y"} for name in names}
    write(base / "meta_data/gpt4_filtering.json", json.dumps(flags))


LVIS_CLASSES = ("teddy_bear", "Band_Aid", "chair", "chair")


def lvis_openshape(root: Path) -> None:
    """Four objects of three classes, the last two of which are trained on."""
    openshape(root)
    listed = [
        {
            "uid": f"{number:032x}",
            "category": name,
            "group": "000-000",
            "data_path": f"/mnt/data/{RECORDS}/Objaverse/000-000/{number:032x}.npy",
        }
        for number, name in enumerate(LVIS_CLASSES)
    ]
    split = root / "openshape/meta_data/split"
    write(split / "lvis.json", json.dumps(listed[:3]))
    write(split / "lvis_train.json", json.dumps(listed[3:]))
    np.save(root / "openshape/meta_data/lvis_cat_name_pt_feat.npy", np.eye(3, 8, dtype=np.float32))


def ulip_shapenet(root: Path) -> None:
    """Two airplanes and a chair to train on, a chair to test; images of the first."""
    pillow = pytest.importorskip("PIL.Image")
    base = root / "ulip/shapenet-55"
    lists = {"train": ["02691156-a1", "02691156-b2", "03001627-c3"], "test": ["03001627-d4"]}
    taxonomy = [
        {"synsetId": "02691156", "name": "airplane,aeroplane,plane", "children": []},
        {"synsetId": "03001627", "name": "chair", "children": []},
    ]
    write(base / "taxonomy.json", json.dumps(taxonomy))
    (base / "shapenet_pc").mkdir()
    for split, names in lists.items():
        write(base / f"{split}.txt", "\n".join(f"{name}.npy" for name in names) + "\n")
        for number, name in enumerate(names):
            np.save(base / f"shapenet_pc/{name}.npy", random_cloud(number))
    folder = base / "rendered_images/02691156-a1"
    folder.mkdir(parents=True)
    for degrees in range(0, 360, 12):
        for kind, blue in (("", 0), ("_depth0001", 255)):
            pixels = np.full((4, 4, 3), (degrees // 2, 0, blue), np.uint8)
            pillow.fromarray(pixels).save(folder / f"02691156-a1_r_{degrees:03d}{kind}.png")
