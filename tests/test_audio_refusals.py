"""Audio that must be refused: each case with its message."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.audio import (
    PcmFormat,
    ReadOptions,
    Waveform,
    check_channel,
    probe_audio,
    read_audio,
    resample,
    to_mono,
    write_audio,
)
from asr.audio.headers import _check_last_ogg_page
from asr.audio.mp3 import check_length_known
from asr.errors import DataError

RATE_HZ = 16_000
NOISE = (0.1 * np.random.default_rng(0).standard_normal(3 * RATE_HZ)).astype(np.float32)


def _write(path: Path, samples: np.ndarray = NOISE, **settings: Any) -> Path:
    soundfile.write(path, samples, RATE_HZ, **settings)
    return path


WHOLE = ReadOptions()


def _refused(path: Path, *words: str, options: ReadOptions = WHOLE) -> DataError:
    """The error, which must name the file and contain `words`."""
    with pytest.raises(DataError) as caught:
        read_audio(path, options)
    assert "\n" not in str(caught.value)
    for word in (str(path), *words):
        assert word in str(caught.value)
    return caught.value


def test_what_names_no_file() -> None:
    for path in (None, BytesIO(b"RIFF"), NOISE):
        with pytest.raises(DataError, match=r"path must be .* of a file, got .*Waveform"):
            read_audio(path)  # type: ignore[arg-type]


def test_what_are_no_options(tmp_path: Path) -> None:
    for options in (16_000, None):
        with pytest.raises(DataError, match=r"options must be ReadOptions, got .*; such as"):
            read_audio(_write(tmp_path / "a.wav"), options)  # type: ignore[arg-type]


def test_a_directory(tmp_path: Path) -> None:
    _refused(tmp_path, "is a directory, expected an audio file")


def test_a_missing_file(tmp_path: Path) -> None:
    _refused(tmp_path / "no.wav", "there is no file")


def test_a_name_with_a_nul(tmp_path: Path) -> None:
    _refused(tmp_path / "a\0b.wav", "cannot read")


def test_a_device_and_a_pipe(tmp_path: Path) -> None:
    _refused(Path(os.devnull), "is a device or pipe")
    os.mkfifo(tmp_path / "pipe.wav")
    _refused(tmp_path / "pipe.wav", "is a device or pipe")


@pytest.mark.parametrize("name", ["notes.txt", "speech.wav", "speech.flac", "speech.mp3"])
def test_a_text_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("These are not samples.\n" * 50, encoding="utf-8")
    error = _refused(path, "cannot read", "as audio")
    assert error.hint is not None and "expected WAV, FLAC" in error.hint


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    _refused(tmp_path / "a.wav", "the file is empty")


@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF", "NIST", "OGG"])
def test_a_file_without_samples(tmp_path: Path, container: str) -> None:
    path = _write(tmp_path / "zero.audio", NOISE[:0], format=container)
    error = _refused(path)
    assert "holds no samples" in str(error) or container in ("FLAC", "OGG")


@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU", "CAF"])
def test_a_recording_whose_length_was_never_written(tmp_path: Path, container: str) -> None:
    # As a recorder leaves it that is killed, or that writes into a pipe: the samples are there.
    path = tmp_path / "take 1.audio"
    empty = _write(path, NOISE[:0], format=container).read_bytes()
    path.write_bytes(empty + _write(path, format=container).read_bytes()[len(empty) :])
    message = f"holds no samples by its header, but has {path.stat().st_size:,} bytes"
    error = _refused(path, message, "have its length written")
    assert "delete" not in str(error) and "'take 1.audio'" in str(error)


CUT_FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "MS_ADPCM"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("NIST", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(("container", "subtype"), CUT_FORMATS)
def test_a_file_that_is_cut_off(
    tmp_path: Path, container: str, subtype: str, fraction: float
) -> None:
    path = _write(tmp_path / "a.audio", format=container, subtype=subtype)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    error = _refused(path)
    assert "cut off" in str(error) or fraction == 0.01


def test_a_stereo_file_that_is_cut_off(tmp_path: Path) -> None:
    # libsndfile gives the samples that are there, without an error.
    path = _write(tmp_path / "a.mp3", np.stack([NOISE, NOISE[::-1]], axis=1))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    _refused(path, "cut off: only")


@given(data=st.data())
def test_flac_is_never_silently_short(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = _write(tmp_path_factory.getbasetemp() / "short.flac", NOISE)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(4, len(content) - 1))])
    _refused(path, "cut off")


def test_flac_damaged_before_the_range_only(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.flac")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    read = read_audio(path, ReadOptions(0.0, 1.0)).samples
    np.testing.assert_allclose(read, NOISE[:RATE_HZ], atol=1 / 32768)
    _refused(path, "cut off", options=ReadOptions(2.0, 0.5))


def test_a_wav_of_a_writer_that_did_not_know_its_length(tmp_path: Path) -> None:
    # As ffmpeg writes into a pipe: the size is a placeholder, the samples are all there.
    path = _write(tmp_path / "piped.wav")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read_audio(path).samples) == len(NOISE)


def test_a_flac_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    path = _write(tmp_path / "piped.flac")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the low 36 bits of STREAMINFO's bytes 10 to 17: the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    _refused(path, "does not say how long it is", "encode it again")


def test_a_flac_that_says_it_is_longer_than_the_limit(tmp_path: Path) -> None:
    path = _write(tmp_path / "liar.flac")
    content = bytearray(path.read_bytes())
    content[22:26] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    _refused(path, "above the limit of 3600 s")
    content[22:26] = struct.pack(">I", len(NOISE) + 1)
    path.write_bytes(content)
    _refused(path, "cut off")


def _mp3_without_tag(path: Path, mode: str) -> Path:
    """An MP3 whose first frame, the one that says the number of frames, is taken away."""
    loud_and_silent = NOISE * np.repeat([1.0, 0.0, 0.3], RATE_HZ).astype(np.float32)
    settings = {"format": "MP3", "bitrate_mode": mode, "compression_level": 0.5}
    _write(path, loud_and_silent, **settings)
    content = path.read_bytes()
    second_frame = content.find(content[:2], 40)
    path.write_bytes(b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128) + content[second_frame:])
    return path


def test_an_mp3_of_unknown_length(tmp_path: Path) -> None:
    path = _mp3_without_tag(tmp_path / "vbr.mp3", "VARIABLE")
    # libsndfile, left alone, ends it after the wrong number of samples.
    assert abs(soundfile.info(path).frames - len(NOISE)) > RATE_HZ // 2
    _refused(path, "has a variable bit rate and does not say how long it is")


def test_mp3_frames_are_followed_over_their_padding(tmp_path: Path) -> None:
    # ISO 11172-3: 1,152 samples of 128 kbit/s at 44.1 kHz take 417 bytes, and one of padding.
    path = tmp_path / "a.mp3"
    first, second = b"\xff\xfb\x92\x00".ljust(418, b"\0"), b"\xff\xfb\x50\x00".ljust(208, b"\0")
    path.write_bytes(first * 3)
    check_length_known(path)
    path.write_bytes(first * 3 + second)
    with pytest.raises(DataError, match="variable bit rate"):
        check_length_known(path)


def test_an_mp3_of_constant_bit_rate_needs_no_tag(tmp_path: Path) -> None:
    path = _mp3_without_tag(tmp_path / "cbr.mp3", "CONSTANT")
    assert len(read_audio(path).samples) == pytest.approx(len(NOISE), abs=3 * 1152)


@pytest.mark.parametrize(
    ("container", "settings"),
    [
        ("OGG", {"subtype": "VORBIS"}),
        ("OGG", {"subtype": "OPUS"}),
        ("MP3", {"bitrate_mode": "VARIABLE"}),
        ("MP3", {"bitrate_mode": "CONSTANT"}),
    ],
)
def test_files_that_were_appended_to_each_other(
    tmp_path: Path, container: str, settings: dict[str, Any]
) -> None:
    # As by `cat` or a radio stream; libsndfile reads the first and says nothing of the others.
    path = tmp_path / "two.audio"
    first = _write(path, NOISE[:RATE_HZ], format=container, **settings).read_bytes()
    second = _write(path, NOISE, format=container, **settings).read_bytes()
    path.write_bytes(first + second)
    _refused(path, "several recordings one after the other", "ffmpeg -i two.audio whole.wav")


@pytest.mark.parametrize(
    "tail", [b"TAG".ljust(128, b"\0"), b"APETAGEX" + bytes(9000), b"\xff" * 99]
)
def test_an_mp3_may_have_tags_at_its_end(tmp_path: Path, tail: bytes) -> None:
    path = _write(tmp_path / "a.mp3", bitrate_mode="VARIABLE")
    path.write_bytes(b"ID3\x03\x00\x00\x00\x00\x01\x00" + bytes(128) + path.read_bytes() + tail)
    assert len(read_audio(path).samples) == len(NOISE)


def test_a_stream_that_describes_an_ogg_file_is_no_second_recording(tmp_path: Path) -> None:
    # Ogg Skeleton: its pages come first and end first, with a serial number of their own.
    path = _write(tmp_path / "a.ogg")
    content = path.read_bytes()
    page = b"OggS\0\x02" + bytes(8) + b"SKEL" + bytes(8) + b"\x01\x08fishead\0"
    path.write_bytes(page + content)
    _check_last_ogg_page(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_samples_that_are_no_numbers(tmp_path: Path, value: float, num_channels: int) -> None:
    samples = np.tile(NOISE[:8000, None], num_channels)
    samples[100:103] = value
    path = _write(tmp_path / "nan.wav", samples, subtype="FLOAT")
    _refused(path, "3 of 8000 samples are NaN or infinite", "first sample 100")
    assert len(read_audio(path, ReadOptions(0.1, 0.1)).samples) == 1600


def test_integers_stored_as_floats(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.wav", NOISE * 32768, subtype="FLOAT")
    _refused(path, "expected about [-1, 1]", "divide by the full scale")
    loud = _write(tmp_path / "b.wav", np.clip(NOISE, -0.2, 0.2) * 20, subtype="FLOAT")
    assert np.abs(read_audio(loud).samples).max() == pytest.approx(4.0)


@pytest.mark.parametrize("rate_hz", [1, 999, 1_000_001, 2**31 - 1])
def test_an_absurd_rate(tmp_path: Path, rate_hz: int) -> None:
    path = _write(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate_hz)
    path.write_bytes(content)
    _refused(path, f"sampling rate {rate_hz} Hz, expected 1000 to 1000000 Hz", "damaged")


def test_an_impossible_rate(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    content[24:28] = bytes(4)
    path.write_bytes(content)
    _refused(path, "damaged")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ReadOptions(start_s=3.0), "3.000 s to 3.000 s is not inside the file, which is 3.000 s"),
        (ReadOptions(start_s=1e9), "is not inside the file"),
        (ReadOptions(start_s=2.5, duration_s=1.0), "2.500 s to 3.500 s is not inside the file"),
        (ReadOptions(duration_s=3.02), "is not inside the file"),
        (ReadOptions(duration_s=1e300), "is not inside the file"),
        (ReadOptions(duration_s=1e308), "is not inside the file"),
        (ReadOptions(start_s=1e308, duration_s=1e308), "is not inside the file"),
        (ReadOptions(start_s=-0.1), "start_s must be 0 or more, got -0.1"),
        (ReadOptions(start_s=float("nan")), "start_s must be 0 or more"),
        (ReadOptions(start_s=float("inf")), "start_s must be 0 or more"),
        (ReadOptions(duration_s=0.0), "duration_s must be above 0, got 0.0"),
        (ReadOptions(duration_s=-1.0), "duration_s must be above 0"),
        (ReadOptions(duration_s=float("nan")), "duration_s must be above 0"),
        (ReadOptions(duration_s=1e-6), "holds no sample"),
        (ReadOptions(max_duration_s=2.9), "3 s of audio, above the limit of 2.9 s"),
        (ReadOptions(channel=1), "no channel 1: the audio has only channel 0"),
        (ReadOptions(channel=-1), "no channel -1"),
        (ReadOptions(channel="left"), "must be 'mix' or an index from 0"),  # type: ignore[arg-type]
        (ReadOptions(channel=True), "must be 'mix' or an index from 0"),
        (ReadOptions(sample_rate_hz=0), "sample_rate_hz must be above 0"),
    ],
)
def test_what_is_not_in_the_file(tmp_path: Path, options: ReadOptions, message: str) -> None:
    _refused(_write(tmp_path / "a.wav"), message, options=options)


def test_channels_that_there_are_not() -> None:
    check_channel(2, 3)
    with pytest.raises(DataError, match="no channel 3: the audio has channels 0 to 2"):
        check_channel(3, 3)
    with pytest.raises(DataError, match=r"got shape \(2, 2, 2\)"):
        to_mono(np.zeros((2, 2, 2), dtype=np.float32))


def test_a_headerless_file_without_its_format(tmp_path: Path) -> None:
    for name in ("a.raw", "a.PCM"):
        (tmp_path / name).write_bytes(bytes(1000))
        _refused(tmp_path / name, "headerless", "state it (--pcm of asr transcribe")


def test_a_format_stated_for_a_file_that_has_one(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.wav")
    options = ReadOptions(pcm=PcmFormat(RATE_HZ))
    _refused(path, "has a header of its own", options=options)


def test_a_headerless_file_of_half_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(1001))
    options = ReadOptions(pcm=PcmFormat(RATE_HZ, "s16be", 2))
    _refused(path, "1001 bytes", "no multiple of the 4", "s16be", options=options)
    path.write_bytes(b"")
    _refused(path, "holds no samples", options=options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PcmFormat(RATE_HZ, "s16"), r"unknown PCM encoding 's16'; known: s8, u8, s16le"),
        (lambda: PcmFormat(10), "sampling rate 10 Hz"),
        (lambda: PcmFormat(10**7), "sampling rate 10000000 Hz"),
        (lambda: PcmFormat(RATE_HZ, num_channels=0), "num_channels must be 1 to 1024, got 0"),
    ],
)
def test_wrong_headerless_formats(make: Callable[[], PcmFormat], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


def test_shorten_compressed_sphere(tmp_path: Path) -> None:
    path = tmp_path / "a.sph"
    header = (
        "NIST_1A\n   1024\nsample_rate -i 16000\nchannel_count -i 1\nsample_n_bytes -i 2\n"
        "sample_count -i 100\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    )
    path.write_bytes(header.encode().ljust(1024) + bytes(50))
    _refused(path, "sph2pipe")


@pytest.mark.parametrize("content", [b"OggS", b"RIFF\0\0\0\0WAVE", b"fLaC" + bytes(40), b"ID3"])
def test_headers_without_a_body(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.audio"
    path.write_bytes(content)
    _refused(path)


@given(content=st.binary(max_size=200), magic=st.sampled_from([b"", b"RIFF", b"OggS", b"\xff\xf3"]))
def test_any_bytes_are_audio_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, magic: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.audio"
    path.write_bytes(magic + content)
    try:
        assert len(read_audio(path).samples) > 0
    except DataError as error:
        assert str(path) in str(error)


def test_probing_refuses_what_reading_refuses(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.wav"):
        with pytest.raises(DataError):
            probe_audio(path)
    empty = _write(tmp_path / "zero.wav", NOISE[:0])
    with pytest.raises(DataError, match="holds no samples"):
        probe_audio(empty)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([0.0, 0.5], "must be a NumPy array, got list"),
        (torch.zeros(800), r"got Tensor; pass samples\.numpy\(\)"),
        ((NOISE * 32767).astype(np.int16), "got int16; divide integers by their full scale, 32768"),
        (NOISE > 0, "must be floats in .*, got bool"),
        (NOISE.astype(np.complex64), "must be floats in .*, got complex64"),
        (NOISE.reshape(-1, 2), r"must be \(num_samples,\), got shape .* asr\.audio\.to_mono"),
        (NOISE[None], r"must be \(num_samples,\), got shape \(1, "),
        (np.array(0.5), r"must be \(num_samples,\), got shape \(\)"),
        (NOISE * np.nan, f"{len(NOISE)} samples are NaN or infinite, first sample 0"),
        (np.array([0, 0, np.inf]), "1 of 3 samples .* first sample 2"),
        (
            NOISE * 32768,
            "samples reach from -.* to .*, expected about .*; divide by the full scale",
        ),
    ],
)
def test_samples_that_are_no_waveform(samples: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Waveform(samples, RATE_HZ)


@pytest.mark.parametrize(
    "rate_hz", [0, -16000, 999, 1_000_001, 16000.0, 22050.5, "16000", None, True]
)
def test_rates_that_are_none(rate_hz: int) -> None:
    message = f"sample_rate_hz must be a whole number from 1000 to 1000000, got {rate_hz!r}"
    with pytest.raises(DataError, match=re.escape(message)):
        Waveform(NOISE, rate_hz)


@pytest.mark.parametrize(
    ("name", "samples", "message"),
    [
        ("a.mp3", NOISE, r"must end in \.wav or \.flac"),
        ("a", NOISE, r"must end in \.wav or \.flac"),
        ("a.wav", NOISE * 100, "samples reach"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, name: str, samples: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_audio(tmp_path / name, Waveform(samples, RATE_HZ))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write"):
        write_audio(tmp_path / "file" / "a.wav", Waveform(NOISE, RATE_HZ))


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_full_disk_is_named(tmp_path: Path, name: str) -> None:
    """What libsndfile says of any such failure is "System error"."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(DataError, match=f"cannot write .*{name}: File too large"):
            write_audio(tmp_path / name, Waveform(NOISE, RATE_HZ))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_rate_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot write"):
        write_audio(tmp_path / "a.flac", Waveform(NOISE, 700_001))
    assert list(tmp_path.iterdir()) == []


def test_a_rate_to_resample_to() -> None:
    with pytest.raises(DataError, match="sample_rate_hz must be above 0, got -1"):
        resample(Waveform(NOISE, RATE_HZ), -1)
