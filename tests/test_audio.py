"""Reading, resampling and writing audio; what is refused is in test_audio_refusals.py."""

from __future__ import annotations

import os
import sys
import tracemalloc
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asr.audio import (
    PCM_ENCODINGS,
    AudioInfo,
    PcmFormat,
    ReadOptions,
    Waveform,
    num_resampled,
    probe_audio,
    read_audio,
    resample,
    to_mono,
    write_audio,
)
from asr.audio.resampling import _resampler
from asr.errors import DataError, MissingExtraError

RATE_HZ = 16_000
NUM_SAMPLES = 12_345

# Container, subtype, and the root-mean-square error its rounding or loss may make.
FORMATS = [
    ("WAV", "PCM_U8", 6e-3),
    ("WAV", "PCM_16", 2e-5),
    ("WAV", "PCM_24", 1e-7),
    ("WAV", "PCM_32", 1e-7),
    ("WAV", "FLOAT", 0.0),
    ("WAV", "DOUBLE", 0.0),
    ("WAV", "ULAW", 4e-3),
    ("WAV", "ALAW", 4e-3),
    ("WAV", "IMA_ADPCM", 6e-3),
    ("WAV", "MS_ADPCM", 0.012),
    ("WAV", "GSM610", 0.05),
    ("WAVEX", "PCM_16", 2e-5),
    ("RF64", "PCM_16", 2e-5),
    ("W64", "PCM_16", 2e-5),
    ("AIFF", "PCM_16", 2e-5),
    ("AU", "PCM_16", 2e-5),
    ("CAF", "PCM_16", 2e-5),
    ("NIST", "PCM_16", 2e-5),
    ("FLAC", "PCM_16", 2e-5),
    ("FLAC", "PCM_24", 1e-7),
    ("OGG", "VORBIS", 8e-3),
    ("OGG", "OPUS", 0.01),
    ("MP3", "MPEG_LAYER_III", 0.012),
]
FORMAT_IDS = [f"{container}-{subtype}" for container, subtype, _ in FORMATS]
# Decoders that start anew inside the file repeat the samples of the whole only to a rounding.
SEEK_ERROR = 1e-6


def speech_like(num_samples: int, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """(num_samples,) float32: slowly changing tones and noise, within ±0.7."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(num_samples) / rate_hz
    pitch = np.sin(2 * np.pi * 0.02 * rate_hz * time_s + 3 * np.sin(2 * np.pi * 4 * time_s))
    loudness = 0.5 + 0.5 * np.sin(2 * np.pi * 2 * time_s)
    return (0.5 * pitch * loudness + 0.02 * generator.uniform(-1, 1, num_samples)).astype("float32")


def tone(frequency_hz: float, rate_hz: int, duration_s: float = 1.0) -> Waveform:
    time_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    return Waveform((0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32), rate_hz)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of every format, all of the same samples."""
    folder = tmp_path_factory.mktemp("formats")
    paths = {}
    for (container, subtype, _), name in zip(FORMATS, FORMAT_IDS, strict=True):
        paths[name] = folder / f"{name}.{container.lower()}"
        samples = speech_like(NUM_SAMPLES)
        soundfile.write(paths[name], samples, RATE_HZ, format=container, subtype=subtype)
    return paths


@pytest.mark.parametrize("index", range(len(FORMATS)), ids=FORMAT_IDS)
def test_every_format_reads(files: dict[str, Path], index: int) -> None:
    tolerance = FORMATS[index][2]
    path = files[FORMAT_IDS[index]]
    waveform = read_audio(path)
    assert waveform.sample_rate_hz == RATE_HZ
    assert waveform.samples.dtype == np.float32 and waveform.samples.ndim == 1
    info = probe_audio(path)
    assert info == AudioInfo(RATE_HZ, 1, len(waveform.samples))
    assert info.duration_s == waveform.duration_s
    if "ADPCM" not in path.name and "GSM" not in path.name:  # which fill their last block
        assert len(waveform.samples) == NUM_SAMPLES
    error = waveform.samples[:NUM_SAMPLES] - speech_like(NUM_SAMPLES)
    assert np.sqrt(np.mean(error**2)) <= tolerance
    np.testing.assert_array_equal(waveform.samples, soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize("name", FORMAT_IDS)
@given(data=st.data())
def test_reading_a_range_is_slicing_the_whole(
    files: dict[str, Path], name: str, data: st.DataObject
) -> None:
    whole = read_audio(files[name]).samples
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start + 1, len(whole)))
    options = ReadOptions(start / RATE_HZ, (stop - start) / RATE_HZ)
    part = read_audio(files[name], options).samples
    assert len(part) == stop - start
    np.testing.assert_allclose(part, whole[start:stop], rtol=0, atol=SEEK_ERROR)


def _write_mp3_with_pauses(path: Path, rate_hz: int, num_channels: int) -> None:
    """Ten seconds, half of each second silent: there the frames of a variable bit rate are small,
    and what follows begins many frames before."""
    samples = speech_like(10 * rate_hz, rate_hz)
    samples *= np.arange(len(samples)) // (rate_hz // 2) % 2
    channels = np.stack([samples, 0.5 * samples[::-1]][:num_channels], axis=1)
    with soundfile.SoundFile(
        path,
        "w",
        rate_hz,
        num_channels,
        format="MP3",
        bitrate_mode="VARIABLE",
        compression_level=0.9,
    ) as file:
        file.write(channels)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 48_000])
def test_a_range_of_an_mp3_with_pauses_is_slicing_the_whole(
    tmp_path: Path, rate_hz: int, num_channels: int
) -> None:
    path = tmp_path / "pauses.mp3"
    _write_mp3_with_pauses(path, rate_hz, num_channels)
    whole = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    for start in range(rate_hz // 3, 9 * rate_hz, rate_hz // 3):
        part = read_audio(path, ReadOptions(start / rate_hz, 0.5)).samples
        np.testing.assert_allclose(part, whole[start : start + len(part)], rtol=0, atol=SEEK_ERROR)


def test_the_blocks_of_a_stereo_mp3_join_without_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pauses.mp3"
    _write_mp3_with_pauses(path, 16_000, 2)
    monkeypatch.setattr("asr.audio.reading._BLOCK_VALUES", 140_000)
    whole = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    np.testing.assert_allclose(read_audio(path).samples, whole, rtol=0, atol=SEEK_ERROR)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf_8(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"gr\xfc\xdfe.wav")
    path.symlink_to(files["WAV-PCM_16"])
    assert np.array_equal(read_audio(path).samples, read_audio(files["WAV-PCM_16"]).samples)


def test_a_range_without_duration_goes_to_the_end(files: dict[str, Path]) -> None:
    whole = read_audio(files["FLAC-PCM_16"]).samples
    part = read_audio(files["FLAC-PCM_16"], ReadOptions(start_s=0.25)).samples
    np.testing.assert_array_equal(part, whole[4000:])


def test_a_range_may_pass_the_end_by_the_rounding_of_its_times(files: dict[str, Path]) -> None:
    # 12,345 samples are 0.7716 s, which two decimals round up to 0.78.
    part = read_audio(files["WAV-PCM_16"], ReadOptions(0.5, 0.28))
    assert len(part.samples) == NUM_SAMPLES - 8000


def _sparse_wav(path: Path, duration_s: int) -> Path:
    """A WAV file of silence that takes no space on the disk."""
    soundfile.write(path, np.zeros(1, dtype=np.int16), RATE_HZ)
    num_bytes = duration_s * RATE_HZ * 2
    with path.open("r+b") as file:
        header = bytearray(file.read(44))
        header[4:8] = (num_bytes + 36).to_bytes(4, "little")
        header[40:44] = num_bytes.to_bytes(4, "little")
        file.seek(0)
        file.write(header)
        file.truncate(44 + num_bytes)
    return path


def _peak_bytes(path: Path, options: ReadOptions) -> int:
    tracemalloc.start()
    try:
        read_audio(path, options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_range_of_a_long_file_takes_memory_for_the_range_only(tmp_path: Path) -> None:
    path = _sparse_wav(tmp_path / "long.wav", 3 * 3600)
    assert probe_audio(path).duration_s == 3 * 3600
    assert _peak_bytes(path, ReadOptions(start_s=9000.0, duration_s=1.0)) < 10 * RATE_HZ * 4


def test_a_long_file_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = _sparse_wav(tmp_path / "long.wav", 3 * 3600)
    tracemalloc.start()
    with pytest.raises(DataError, match="10800 s of audio, above the limit of 3600 s; cut it"):
        read_audio(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6
    assert len(read_audio(path, ReadOptions(0.0, 3600.0)).samples) == 3600 * RATE_HZ


@pytest.mark.parametrize("num_channels", [2, 6])
@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_channels(tmp_path: Path, num_channels: int, container: str) -> None:
    channels = np.stack([speech_like(5000, seed=seed) for seed in range(num_channels)], axis=1)
    path = tmp_path / f"a.{container.lower()}"
    soundfile.write(path, channels, RATE_HZ, format=container, subtype="PCM_24")
    assert probe_audio(path).num_channels == num_channels
    for channel in range(num_channels):
        read = read_audio(path, ReadOptions(channel=channel)).samples
        np.testing.assert_allclose(read, channels[:, channel], atol=1e-6)
    mix = read_audio(path, ReadOptions(0.1, 0.1)).samples
    np.testing.assert_allclose(mix, channels[1600:3200].mean(axis=1), atol=1e-6)


def test_many_channels_are_mixed_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "array.wav"
    channels = np.random.default_rng(0).uniform(-1, 1, (40_000, 64)).astype(np.float32)
    soundfile.write(path, channels, RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path).samples, channels.mean(axis=1), atol=1e-6)
    last = read_audio(path, ReadOptions(channel=63)).samples
    np.testing.assert_array_equal(last, channels[:, 63])
    assert _peak_bytes(path, ReadOptions()) < channels.nbytes


def test_to_mono() -> None:
    stereo = np.array([[1.0, 0.0], [0.5, -0.5]], dtype=np.float32)
    np.testing.assert_array_equal(to_mono(stereo), [0.5, 0.0])
    np.testing.assert_array_equal(to_mono(stereo, 1), [0.0, -0.5])
    np.testing.assert_array_equal(to_mono(stereo[:, 0]), [1.0, 0.5])
    assert to_mono(stereo).dtype == np.float32


INTEGERS = np.array([0, 1, -1, 100, -128, 127], dtype=np.int64)
# What each encoding stores, by the definition of its name; G.711's extremes are from its tables.
HEADERLESS: dict[str, tuple[bytes, list[float]]] = {
    "s8": (INTEGERS.astype("i1").tobytes(), list(INTEGERS / 2**7)),
    "u8": ((INTEGERS + 128).astype("u1").tobytes(), list(INTEGERS / 2**7)),
    "s16le": (INTEGERS.astype("<i2").tobytes(), list(INTEGERS / 2**15)),
    "s16be": (INTEGERS.astype(">i2").tobytes(), list(INTEGERS / 2**15)),
    "s24le": (
        b"".join(int(v).to_bytes(3, "little", signed=True) for v in INTEGERS),
        list(INTEGERS / 2**23),
    ),
    "s24be": (
        b"".join(int(v).to_bytes(3, "big", signed=True) for v in INTEGERS),
        list(INTEGERS / 2**23),
    ),
    "s32le": (INTEGERS.astype("<i4").tobytes(), list(INTEGERS / 2**31)),
    "s32be": (INTEGERS.astype(">i4").tobytes(), list(INTEGERS / 2**31)),
    "f32le": (np.array([0.5, -0.25], "<f4").tobytes(), [0.5, -0.25]),
    "f32be": (np.array([0.5, -0.25], ">f4").tobytes(), [0.5, -0.25]),
    "f64le": (np.array([0.5, -0.25], "<f8").tobytes(), [0.5, -0.25]),
    "f64be": (np.array([0.5, -0.25], ">f8").tobytes(), [0.5, -0.25]),
    "ulaw": (bytes([0xFF, 0x80, 0x00]), [0.0, 32124 / 2**15, -32124 / 2**15]),
    "alaw": (bytes([0xD5, 0xAA, 0x2A]), [8 / 2**15, 32256 / 2**15, -32256 / 2**15]),
}


@pytest.mark.parametrize("encoding", PCM_ENCODINGS)
def test_headerless_files(tmp_path: Path, encoding: str) -> None:
    content, expected = HEADERLESS[encoding]
    path = tmp_path / "speech.raw"
    path.write_bytes(content)
    pcm = PcmFormat(8000, encoding)
    assert probe_audio(path, pcm) == AudioInfo(8000, 1, len(expected))
    np.testing.assert_allclose(read_audio(path, ReadOptions(pcm=pcm)).samples, expected, atol=1e-7)


def test_headerless_channels_and_ranges(tmp_path: Path) -> None:
    path = tmp_path / "stereo.pcm"
    frames = np.arange(2000, dtype=">i2").reshape(1000, 2)
    path.write_bytes(frames.tobytes())
    options = ReadOptions(0.1, 0.05, channel=1, pcm=PcmFormat(1000, "s16be", 2))
    np.testing.assert_array_equal(read_audio(path, options).samples * 2**15, frames[100:150, 1])


@pytest.mark.parametrize(
    ("old_hz", "new_hz"),
    [
        (8_000, 16_000),
        (16_000, 8_000),
        (11_025, 16_000),
        (22_050, 16_000),
        (44_100, 16_000),
        (48_000, 16_000),
        (384_000, 16_000),
        (16_000, 48_000),
    ],
)
def test_resampling_keeps_frequency_and_level(old_hz: int, new_hz: int) -> None:
    frequency_hz = 0.3 * min(old_hz, new_hz)
    resampled = resample(tone(frequency_hz, old_hz), new_hz)
    assert resampled.sample_rate_hz == new_hz
    assert abs(len(resampled.samples) - new_hz) <= 1
    assert len(resampled.samples) == num_resampled(old_hz, old_hz, new_hz)
    expected = tone(frequency_hz, new_hz)
    inside = slice(new_hz // 8, new_hz * 7 // 8)
    np.testing.assert_allclose(resampled.samples[inside], expected.samples[inside], atol=2e-3)


@pytest.mark.parametrize("old_hz", [22_050, 48_000, 384_000])
def test_downward_resampling_removes_what_would_alias(old_hz: int) -> None:
    resampled = resample(tone(9_000, old_hz), 16_000).samples[2000:-2000]
    assert 20 * np.log10(np.sqrt(2 * np.mean(resampled**2)) / 0.5) < -100


@pytest.mark.parametrize(("old_hz", "new_hz"), [(8_000, 16_000), (44_100, 16_000), (16_000, 8_000)])
def test_resampling_agrees_with_soxr(old_hz: int, new_hz: int) -> None:
    # Band-limited below both filters' transition bands, where any two good resamplers agree.
    samples = resample(Waveform(speech_like(old_hz // 4, old_hz // 4), old_hz // 4), old_hz).samples
    ours = resample(Waveform(samples, old_hz), new_hz).samples
    soxr = librosa.resample(samples, orig_sr=old_hz, target_sr=new_hz, res_type="soxr_vhq")
    inside = slice(new_hz // 8, -new_hz // 8)
    np.testing.assert_allclose(ours[inside], soxr[: len(ours)][inside], atol=1e-3)


@pytest.mark.parametrize("num_samples", [1, 2, 100, 16_001])
@pytest.mark.parametrize(
    ("old_hz", "new_hz"), [(48_000, 16_000), (8_000, 16_000), (44_100, 16_000)]
)
def test_resampling_equals_torchaudio(num_samples: int, old_hz: int, new_hz: int) -> None:
    samples = speech_like(num_samples)
    transform = torchaudio.transforms.Resample(
        old_hz,
        new_hz,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )
    expected = transform(torch.from_numpy(samples))
    ours = resample(Waveform(samples, old_hz), new_hz).samples
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("old_hz", [15_999, 16_001, 22_254, 44_056])
def test_rates_without_a_simple_ratio_take_the_nearest(old_hz: int) -> None:
    resampled = resample(tone(100, old_hz, 2.0), 16_000)
    assert resampled.sample_rate_hz == 16_000
    assert resampled.duration_s == pytest.approx(2.0, rel=1.3e-4)
    expected = tone(100, 16_000, 2.0).samples[1000:-1000]
    np.testing.assert_allclose(resampled.samples[1000 : len(expected) + 1000], expected, atol=0.1)


def test_resampling_to_the_same_rate_is_nothing() -> None:
    waveform = tone(440, RATE_HZ)
    assert resample(waveform, RATE_HZ) is waveform


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", ">f8", "f4"])
def test_floats_of_any_kind_become_float32(dtype: str) -> None:
    samples = np.repeat(speech_like(800), 2).astype(dtype)[::-2]
    before = samples.copy()
    waveform = Waveform(samples, np.int64(8000))
    assert waveform.samples.dtype == np.float32
    assert waveform.samples.flags.c_contiguous
    assert type(waveform.sample_rate_hz) is int
    np.testing.assert_allclose(waveform.samples, speech_like(800)[::-1], atol=1e-3)
    np.testing.assert_array_equal(samples, before)


def test_a_waveform_may_be_empty() -> None:
    assert Waveform(np.zeros(0, np.float32), RATE_HZ).duration_s == 0


def test_resampling_takes_read_only_samples() -> None:
    samples = np.frombuffer(speech_like(800).tobytes(), dtype=np.float32)
    assert len(resample(Waveform(samples, 8000), 16_000).samples) == 1600


def test_the_filter_is_made_once_for_a_pair_of_rates() -> None:
    _resampler.cache_clear()
    for _ in range(3):
        resample(tone(440, 44_100, 0.1), 16_000)
        resample(tone(440, 22_050, 0.1), 8_000)
    assert _resampler.cache_info().misses == 1  # both are 160 : 441


def test_resampling_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _resampler.cache_clear()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"resampling audio.*pip install .asr\[train\]"):
        resample(tone(440, 8000), 16_000)


def test_reading_resamples_the_range(files: dict[str, Path]) -> None:
    part = read_audio(files["WAV-FLOAT"], ReadOptions(0.25, 0.25))
    options = ReadOptions(0.25, 0.25, sample_rate_hz=8000)
    np.testing.assert_array_equal(
        read_audio(files["WAV-FLOAT"], options).samples, resample(part, 8000).samples
    )


def test_a_file_of_384_khz(tmp_path: Path) -> None:
    path = tmp_path / "bat.wav"
    soundfile.write(path, tone(1000, 384_000).samples, 384_000, subtype="FLOAT")
    read = read_audio(path, ReadOptions(sample_rate_hz=16_000)).samples
    np.testing.assert_allclose(read[100:-100], tone(1000, 16_000).samples[100:-100], atol=1e-3)


@pytest.mark.parametrize("suffix", [".WAV", ".flac"])
@given(
    samples=hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1.0, 1.0, width=32)),
    rate_hz=st.sampled_from([8000, 16_000, 44_100, 384_000]),
)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, samples: np.ndarray, rate_hz: int
) -> None:
    path = tmp_path_factory.mktemp("written") / f"a{suffix}"
    write_audio(path, Waveform(samples, rate_hz))
    once = read_audio(path)
    assert once.sample_rate_hz == rate_hz
    # Full scale is -32768 to 32767: the nearest of these, half a step off at most.
    expected = np.minimum(samples, 32767 / 32768)
    np.testing.assert_allclose(once.samples, expected, rtol=0, atol=0.501 / 32768)
    write_audio(path, once)
    np.testing.assert_array_equal(read_audio(path).samples, once.samples)
    assert soundfile.info(path).subtype == "PCM_16"


def test_writing_makes_directories_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.wav"
    write_audio(path, tone(440, RATE_HZ))
    assert [entry.name for entry in path.parent.iterdir()] == ["c.wav"]


def test_writing_cuts_a_small_overshoot_off(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    write_audio(path, Waveform(np.array([1.1, -1.1, 0.5], dtype=np.float32), 8000))
    np.testing.assert_allclose(read_audio(path).samples, [1.0, -1.0, 0.5], atol=1 / 32768)


needs_corpora = pytest.mark.skipif(
    "ASR_CORPORA" not in os.environ, reason="needs the corpora: set ASR_CORPORA"
)


@needs_corpora
@pytest.mark.parametrize(
    "pattern",
    [
        "an4/wav/an4test_clstk/*/*.flac",
        "fsdd/recordings/*_0.wav",
        "waves_yesno/**/*.wav",
        "noise_esc10/*/*.ogg",
    ],
)
def test_corpora_read_as_soundfile_reads_them(pattern: str) -> None:
    paths = sorted(Path(os.environ["ASR_CORPORA"]).glob(pattern))
    assert len(paths) >= 20
    for path in paths[::4]:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        waveform = read_audio(path)
        assert waveform.sample_rate_hz == rate_hz
        np.testing.assert_allclose(waveform.samples, samples.mean(axis=1), atol=1e-7)
