"""Sounds: rate, channels, types, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from lavis.common.errors import DataError
from lavis.datasets.fields.audio import AudioLoader, audio_files, checked_audio, decode_audio
from lavis.datasets.samples import collate

TONE = (np.sin(np.arange(8000) / 8) * 0.5).astype(np.float32)


def wav(samples: np.ndarray, rate: int = 16000) -> bytes:
    content = io.BytesIO()
    wavfile.write(content, rate, samples)
    return content.getvalue()


def test_integers_are_scaled_by_their_type():
    clip = decode_audio(wav((TONE * 32768).astype(np.int16)), "a.wav")
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip, TONE, atol=1e-4)


def test_channels_are_averaged():
    stereo = np.stack([TONE, np.zeros_like(TONE)], 1)
    np.testing.assert_allclose(decode_audio(wav(stereo), "a.wav"), TONE / 2, atol=1e-6)


def test_another_rate_is_resampled_to_the_same_tone():
    found = decode_audio(wav(TONE, 8000), "a.wav")
    assert len(found) == 2 * len(TONE)
    peaks = [
        np.abs(np.fft.rfft(clip)).argmax() / len(clip) * rate
        for clip, rate in ((TONE, 8000), (found, 16000))
    ]
    assert peaks[0] == pytest.approx(peaks[1], rel=1e-3)


@pytest.mark.parametrize(
    ("samples", "got"),
    [
        (np.zeros(8000, np.float32), "silence"),
        (np.full(8000, np.nan, np.float32), "NaN"),
        (TONE[:100], "0.006 s"),
        (TONE.astype(complex), "complex"),
        (TONE.reshape(20, 20, 20), "20"),
    ],
)
def test_what_cannot_be_heard_is_refused(samples, got):
    with pytest.raises(DataError, match=got):
        checked_audio(samples, 16000, "x")


def test_damage_names_the_file():
    with pytest.raises(DataError, match=r"cut\.wav"):
        decode_audio(wav(TONE)[:30], "cut.wav")


def test_clips_of_a_batch_are_padded_and_masked(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(TONE))
    (tmp_path / "b.wav").write_bytes(wav(TONE[:4000]))
    loader = AudioLoader(audio_files(tmp_path))
    rng = np.random.default_rng(0)
    batch = collate(
        [loader.load({"object_id": n}, rng) | {"instance_id": n} for n in ("a", "b", "absent")]
    )
    assert batch["audio"].shape == (3, 8000)
    assert batch["audio_mask"].sum(1).tolist() == [8000, 4000, 0]


def test_long_clips_are_cut_at_the_start_or_where_training_draws():
    read = {"a": TONE}.get
    rng = np.random.default_rng(1)
    whole = AudioLoader(read, seconds=0.1).load({"object_id": "a"}, rng)["audio"]
    assert torch.equal(whole, torch.from_numpy(TONE[:1600]))
    drawn = AudioLoader(read, 0.1, draws=True).load({"object_id": "a"}, rng)["audio"]
    assert len(drawn) == 1600
    assert not torch.equal(drawn, whole)


def test_no_file_outside_the_folder_is_read(tmp_path):
    with pytest.raises(DataError):
        audio_files(tmp_path)("../secret")
