"""Records and field loaders: labels and pixels follow points, images, random streams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lavis.common.errors import DataError
from lavis.datasets.datasets.record_dataset import RecordDataset
from lavis.datasets.fields.images import ImageLoader, read_pixels
from lavis.datasets.fields.points import PointLoader
from lavis.datasets.fields.texts import CaptionLoader
from lavis.datasets.samples import collate
from lavis.datasets.stores.packed_fields import FIELD_LAYOUTS, PackedFieldStore, PackedFieldWriter
from lavis.datasets.stores.point_stores import FilePointStore
from lavis.processors.point_processors import PointEvalProcessor, PointTrainProcessor
from lavis.processors.point_transforms import Normalize, take_points

SIZES = {"a": 30, "b": 50, "c": 41}
RECORDS = [{"object_id": name, "caption": f"Scene {name}"} for name in SIZES]


def scene(count: int) -> dict[str, np.ndarray]:
    """A scene whose labels and pixels are functions of the coordinates."""
    xyz = np.random.default_rng(count).uniform(-1, 1, (count, 3)).astype(np.float32)
    place = np.arange(count)
    return {
        "xyz": xyz,
        "rgb": np.repeat(place[:, None] % 256, 3, axis=1) / 255,
        "semantic_label": place % 7,
        "pixel_of_point": np.stack([place, 2 * place], axis=1),
    }


@pytest.fixture
def scenes(tmp_path: Path) -> PackedFieldStore:
    layouts = {name: FIELD_LAYOUTS[name] for name in scene(1)}
    with PackedFieldWriter(tmp_path / "scenes", layouts) as writer:
        for name, count in SIZES.items():
            writer.write(name, scene(count), scale=2.0)
    return PackedFieldStore(tmp_path / "scenes")


def raw(points: dict, rng: np.random.Generator) -> dict:
    """Shuffle and drop points, keeping their colour, which says where each was."""
    kept = rng.permutation(len(points["xyz"]))[3:]
    taken = take_points(Normalize()(points, rng), kept)
    cloud = np.concatenate([taken.pop("xyz"), taken.pop("rgb")], axis=1)
    return {"point_cloud": cloud.astype(np.float32), **taken}


def test_labels_and_pixels_follow_their_points_into_the_batch(scenes) -> None:
    dataset = RecordDataset(RECORDS, [PointLoader(scenes, raw), CaptionLoader(str.lower)])
    batch = collate([dataset[0], dataset[1], dataset[2]])
    assert batch["lengths"].tolist() == [27, 47, 38]
    assert batch["point_cloud"].shape == (3, 47, 6)
    for row, length in enumerate(batch["lengths"].tolist()):
        place = (batch["point_cloud"][row, :length, 3] * 255).round().long()
        assert torch.equal(batch["semantic_label"][row, :length], place % 7)
        pixels = torch.stack([place, 2 * place], dim=1)
        assert torch.equal(batch["pixel_of_point"][row, :length], pixels)
        assert batch["semantic_label"][row, length:].eq(-1).all()
    assert batch["text_input"] == ["scene a", "scene b", "scene c"]
    box = np.ptp(scene(30)["xyz"], axis=0) * 2
    torch.testing.assert_close(batch["box_size"][0], torch.from_numpy(box))


def test_processors_make_clouds_of_one_size(scenes) -> None:
    processor = PointTrainProcessor.from_config({"num_points": 35})
    batch = collate([RecordDataset(RECORDS, [PointLoader(scenes, processor)])[k] for k in range(3)])
    assert batch["point_cloud"].shape == (3, 35, 6)
    assert "lengths" not in batch
    place = (batch["point_cloud"][..., 3] * 255).round().long()
    assert torch.equal(batch["semantic_label"], place % 7)


@pytest.mark.parametrize("workers", [0, 2])
def test_worker_processes_give_the_same_padded_batches(scenes, workers: int) -> None:
    dataset = RecordDataset(RECORDS, [PointLoader(scenes, raw), CaptionLoader(str)])
    loader = DataLoader(dataset, 3, collate_fn=dataset.collater, num_workers=workers)
    (batch,) = loader
    expected = collate([dataset[k] for k in range(3)])
    for name in ("point_cloud", "lengths", "semantic_label", "pixel_of_point", "box_size"):
        assert torch.equal(batch[name], expected[name])


def test_fields_of_unequal_length_name_the_object() -> None:
    class Broken:
        def load_points(self, object_id: str) -> dict:
            points = scene(9)
            return {**points, "semantic_label": points["semantic_label"][:8]}

        def load(self, object_id: str) -> np.ndarray:
            return scene(9)["xyz"]

        def scale(self, object_id: str) -> float:
            return 1.0

    with pytest.raises(DataError, match=r"(?s)differ in length.*object a"):
        RecordDataset(RECORDS, [PointLoader(Broken(), raw)])[0]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two views of object a, one of b, none of c."""
    rng = np.random.default_rng(0)
    for name, view in (("a", 0), ("a", 1), ("b", 1)):
        pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        np.save(tmp_path / f"{name}_{view}.npy", pixels)
    return tmp_path


def build_with_images(scenes: PackedFieldStore, loader: ImageLoader) -> RecordDataset:
    processor = PointEvalProcessor.from_config({"num_points": 8})
    return RecordDataset(RECORDS, [PointLoader(scenes, processor), CaptionLoader(str), loader])


def test_a_modality_is_one_loader(scenes, pictures) -> None:
    loader = ImageLoader(pictures, "{object_id}_{view}.npy", num_views=2)
    dataset = build_with_images(scenes, loader)
    batch = collate([dataset[k] for k in range(3)])
    assert batch["image"].shape == (3, 2, 3, 4, 5)
    assert batch["image_mask"].tolist() == [[True, True], [False, True], [False, False]]
    expected = np.load(pictures / "b_1.npy").transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(batch["image"][1, 1].numpy(), expected)
    assert not batch["image"][1, 0].any()
    assert not batch["image"][2].any()


def test_png_images_are_read_by_pillow(scenes, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), pixels)
    sample = build_with_images(scenes, ImageLoader(tmp_path))[0]
    assert sample["image"].shape == (1, 3, 4, 5)


def test_damaged_images_are_named(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (tmp_path / "b.npy").write_bytes(b"nothing")
    np.save(tmp_path / "c.npy", np.zeros((4, 5), dtype=np.uint8))
    for name in ("a.png", "b.npy", "c.npy"):
        with pytest.raises(DataError, match=name):
            read_pixels(tmp_path / name)


@dataclass(frozen=True)
class Draw:
    """A loader that returns a random number."""

    name: str
    stream: str

    def load(self, record: dict, rng: np.random.Generator) -> dict:
        return {self.name: rng.random()}


def test_streams_are_independent_and_follow_seed_epoch_and_record() -> None:
    dataset = RecordDataset(RECORDS, [Draw("x", "x:"), Draw("y", "y:"), Draw("again", "x:")])
    first = dataset[0]
    assert first["x"] == first["again"] != first["y"]
    assert RecordDataset(RECORDS, [Draw("y", "y:")])[0]["y"] == first["y"]
    assert dataset[1]["x"] != first["x"]
    dataset.set_epoch(1)
    assert dataset[0]["x"] != first["x"]
    dataset.set_epoch(0)
    dataset.seed = 7
    assert dataset[0]["x"] != first["x"]


def test_later_loaders_replace_fields_and_steps_change_records() -> None:
    class Shout:
        stream = "shout:"

        def __call__(self, record: dict, rng: np.random.Generator) -> dict:
            return {**record, "caption": record["caption"].upper()}

    dataset = RecordDataset(RECORDS, [CaptionLoader(str), Draw("caption", "z:")], steps=[Shout()])
    sample = dataset[0]
    assert sample["text_input"] == "SCENE A"
    assert isinstance(sample["caption"], float)
    assert dataset.annotation[0]["caption"] == "Scene a"


def test_another_store_may_be_put_in_place(scenes, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3, dtype=np.float32))
    processor = PointEvalProcessor.from_config({"num_points": 3, "use_color": False})
    dataset = RecordDataset(RECORDS, [PointLoader(scenes, processor), CaptionLoader(str)])
    dataset.point_store = FilePointStore(tmp_path)
    assert "semantic_label" not in dataset[0]
    assert dataset.point_store.folder == tmp_path
    assert dataset.point_processor is processor
