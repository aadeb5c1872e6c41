"""Prepared pictures and sounds: splits, held-out classes, sounds and pictures of the same item."""

from __future__ import annotations

import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lavis.datasets.download_scripts.media import items as media_items
from lavis.datasets.download_scripts.media.clip_art import clip_art_items, title_of
from lavis.datasets.download_scripts.media.emoji import emoji_items
from lavis.datasets.download_scripts.media.items import PIXELS, fitted_png, masked
from lavis.datasets.download_scripts.media.soundfont import preset_label, render
from lavis.datasets.download_scripts.media.stamps import stamp_items
from lavis.datasets.stores.packed_audio import PackedAudio
from tests.datasets.download_scripts.media_tree import png, write_media
from tests.datasets.download_scripts.test_archives import deb_bytes, tar_bytes


def records(folder, split):
    return json.loads((folder / "annotations" / f"caption_{split}.json").read_text())


@pytest.fixture
def folder(tmp_path):
    return write_media(tmp_path / "stamps", "stamps")


def test_every_item_is_in_one_split_and_held_out_classes_in_theirs(folder):
    splits = {name: records(folder, name) for name in ("train", "val", "test", "held_out")}
    ids = [record["object_id"] for own in splits.values() for record in own]
    assert sorted(ids) == sorted(f"i{number}" for number in range(40))
    assert {record["object_id"] for record in splits["held_out"]} == {
        f"i{n}" for n in range(36, 40)
    }
    assert len(splits["train"]) > len(splits["val"])


def test_sounds_belong_to_the_items_that_have_one(folder):
    store = PackedAudio(folder)
    assert store.load("i1") is None
    assert len(store.load("i2")) == 802
    assert abs(store.load("i2")).max() == pytest.approx(0.5, abs=0.01)


def test_the_same_items_give_the_same_bytes(folder, tmp_path):
    again = write_media(tmp_path / "again", "stamps")
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            assert path.read_bytes() == (again / path.relative_to(folder)).read_bytes(), path


def test_pictures_become_white_squares_of_their_proportions():
    with Image.open(io.BytesIO(fitted_png(png(200, (8, 4))))) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (PIXELS, PIXELS, 3)
    assert (pixels[0] == 255).all()
    assert (pixels[PIXELS // 2] == (200, 0, 0)).all()


def test_pictures_of_too_many_pixels_and_damaged_ones_are_refused(monkeypatch):
    monkeypatch.setattr(media_items, "MAX_PIXELS", 31)
    with pytest.raises(ValueError, match="8 x 4 pixels"):
        fitted_png(png(0))
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # twice as many are a bomb to Pillow
    with pytest.raises(ValueError, match="too many pixels"):
        fitted_png(png(0))
    monkeypatch.undo()
    white = io.BytesIO()
    Image.new("RGB", (5, 5), "white").save(white, format="PNG")
    with pytest.raises(ValueError, match="empty"):
        fitted_png(white.getvalue())
    with pytest.raises((OSError, SyntaxError)):
        fitted_png(png(0)[:30])


@pytest.mark.parametrize(
    ("stem", "title"),
    [
        ("cigni_bianchi_architetto_frances_01", "cigni bianchi"),
        ("lightbulb_jon_phillips_02", "lightbulb"),
        ("turkey_on_platter_01", "turkey on platter"),
        ("saw_peterm_", "saw"),
        ("53_1", None),
    ],
)
def test_a_file_name_gives_a_title_without_its_author(stem, title):
    assert title_of(stem) == title


def test_texts_of_one_group_differ_in_number_side_or_sex():
    assert masked("woman running") == masked("Man running") == masked("person running")
    assert masked("arrow left 2") == masked("Arrow right 13")
    assert masked("cat") != masked("dog")


def test_clip_art_is_chosen_by_folder_and_named_by_file(tmp_path):
    root = "./usr/share/openclipart/png/"
    files = {f"{root}animals/birds/owl_01.png": png(1), f"{root}shapes/stars/star_9.png": png(2)}
    path = tmp_path / "art.deb"
    path.write_bytes(deb_bytes({**files, f"{root}food/x1.png": png(3), f"{root}food/pie.png": b""}))
    dropped = Counter()
    (owl,) = clip_art_items(path, dropped)
    assert (owl.object_id, owl.captions, owl.category) == (
        *("art_animals.birds.owl_01", ("owl", "owl, birds")),
        "birds",
    )
    assert dropped == {"clip art without a title": 1, "clip art: damaged or empty": 1}


def test_emoji_get_the_labels_of_their_code(tmp_path):
    data = [{"label": "red heart", "hexcode": "2764-FE0F", "tags": ["love"], "subgroup": 0}]
    names = {"subgroups": [{"order": 0, "key": "emotion"}]}
    labels, pictures = tmp_path / "labels.tgz", tmp_path / "pictures.tgz"
    texts = {"data": data, "messages": names}
    content = {f"package/en/{name}.json": json.dumps(t).encode() for name, t in texts.items()}
    labels.write_bytes(tar_bytes(content, "w:gz"))
    icons = {"package/assets/2764.webp": png(1), "package/assets/1f600.webp": png(2)}
    pictures.write_bytes(tar_bytes(icons, "w:gz"))
    dropped = Counter()
    (heart,) = emoji_items(pictures, labels, dropped)
    assert heart.captions == ("red heart", "red heart, love")
    assert (heart.category, dropped) == ("emotion", {"emoji without a label": 1})


def test_stamps_have_their_sentence_and_their_sound_but_no_spoken_name(tmp_path):
    from scipy.io import wavfile

    wav, silent = io.BytesIO(), io.BytesIO()
    tone = (np.sin(np.arange(1600) / 3) * 9000).astype(np.int16)
    wavfile.write(wav, 16000, tone)
    wavfile.write(silent, 16000, np.zeros(1600, np.int16))
    root, sound = "./usr/share/tuxpaint/stamps/", wav.getvalue()
    files = {}
    for name in ("animals/cat", "animals/fish", "symbols/math/7"):
        files |= {f"{root}{name}.png": png(5), f"{root}{name}.txt": b"A thing.\nde.utf8=Ein Ding."}
    files |= {f"{root}animals/cat.wav": sound, f"{root}animals/cat_desc.wav": sound}
    files |= {f"{root}animals/fish.wav": silent.getvalue(), f"{root}symbols/math/7.wav": sound}
    files |= {f"{root}animals/drawn.svg": b"<svg/>", f"{root}animals/drawn.txt": b"Drawn."}
    path = tmp_path / "stamps.deb"
    path.write_bytes(deb_bytes(files))
    dropped = Counter()
    stamps = {item.object_id: item for item in stamp_items(path, dropped)}
    assert list(stamps) == ["stamp_animals.cat", "stamp_animals.fish", "stamp_symbols.math.7"]
    assert stamps["stamp_animals.cat"].captions == ("A thing.",)
    np.testing.assert_allclose(stamps["stamp_animals.cat"].audio, tone / 32768, atol=1e-4)
    assert stamps["stamp_animals.fish"].audio is None
    assert stamps["stamp_symbols.math.7"].audio is None
    assert sum(dropped.values()) == 2


class Synth:
    """Gives bytes of float32, left 0.2 and right 0.4, as tinysoundfont does."""

    def __getattr__(self, name):
        return lambda *arguments: None

    def generate(self, samples):
        return memoryview(np.tile(np.array([0.2, 0.4], np.float32), samples).tobytes())


def test_a_note_is_two_seconds_of_both_channels():
    audio = render(Synth(), 0, 0, 73, 60)
    assert audio.shape == (32000,)
    np.testing.assert_allclose(audio, 0.3, atol=1e-6)


def test_names_of_presets_are_spelt_out():
    assert preset_label("Accordian", 0) == "accordion"
    assert preset_label("Synth Bass 2", 0) == "synth bass"
    assert preset_label("Jazz 3", 128) == "jazz drum kit"
    assert preset_label("Orchestra Kit", 128) == "orchestra drum kit"
