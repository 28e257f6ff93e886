"""Open audio files and say what they hold, without reading the samples."""

from __future__ import annotations

import os
import re
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

import soundfile

from asr.audio.mp3 import check_length_known, several_streams
from asr.audio.waveform import MAX_RATE_HZ, MIN_RATE_HZ
from asr.errors import DataError

UNKNOWN_LENGTH = 2**63 - 1
"""What libsndfile reports for a stream whose writer did not know its length (piped FLAC)."""

# libsndfile's name and byte order of each encoding that a headerless file can have.
_ENCODINGS = {
    "s8": ("PCM_S8", "FILE"),
    "u8": ("PCM_U8", "FILE"),
    "s16le": ("PCM_16", "LITTLE"),
    "s16be": ("PCM_16", "BIG"),
    "s24le": ("PCM_24", "LITTLE"),
    "s24be": ("PCM_24", "BIG"),
    "s32le": ("PCM_32", "LITTLE"),
    "s32be": ("PCM_32", "BIG"),
    "f32le": ("FLOAT", "LITTLE"),
    "f32be": ("FLOAT", "BIG"),
    "f64le": ("DOUBLE", "LITTLE"),
    "f64be": ("DOUBLE", "BIG"),
    "ulaw": ("ULAW", "FILE"),
    "alaw": ("ALAW", "FILE"),
}
PCM_ENCODINGS = tuple(_ENCODINGS)
"""Encodings a `PcmFormat` can name: signed, unsigned, float, bits, byte order."""

_BYTES_PER_SAMPLE = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_HEADER_MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b"NIST", b"caff", b".snd")
_WAYS_TO_STATE = "--pcm of asr transcribe, --raw of asr prepare, a PcmFormat in Python"
_HEADERLESS_SUFFIXES = frozenset({".raw", ".pcm"})
UNREAD_SUFFIXES = frozenset(
    {".m4a", ".m4b", ".mp4", ".aac", ".3gp", ".amr", ".awb", ".wma", ".webm", ".mka"}
    | {".ac3", ".ape", ".wv"}
)
"""Of recordings in formats that libsndfile does not read; compare in lower case."""

# Sizes that writers put where they could not know the real one, as into a pipe.
_PLACEHOLDER_SIZE = 0x7FFF_0000
_SIZED_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "AIFF", "AU", "W64", "CAF"})
_SIZE_MISMATCH = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.M
)
_NIST_COUNT = re.compile(rb"^sample_count -i (\d+)", re.M)
_OGG_MAX_PAGE_BYTES = 27 + 255 + 255 * 255
_MAX_EMPTY_BYTES = 8192
"""Of a file with nothing but a header; libsndfile's CAF without samples has 4,096."""


@dataclass(frozen=True)
class PcmFormat:
    """What a headerless file holds; nothing in such a file says it.

    Attributes:
        sample_rate_hz: Samples a second.
        encoding: One of `PCM_ENCODINGS`; AN4's `.raw` files are ``s16be``.
        num_channels: Interleaved channels.
    """

    sample_rate_hz: int
    encoding: str = "s16le"
    num_channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in _ENCODINGS:
            known = ", ".join(PCM_ENCODINGS)
            raise DataError(f"unknown PCM encoding {self.encoding!r}; known: {known}")
        if not MIN_RATE_HZ <= self.sample_rate_hz <= MAX_RATE_HZ:
            raise DataError(_rate_message("PCM", self.sample_rate_hz))
        if not 1 <= self.num_channels <= 1024:
            raise DataError(f"PCM num_channels must be 1 to 1024, got {self.num_channels}")

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one sample of every channel."""
        return self.num_channels * _BYTES_PER_SAMPLE.get(_ENCODINGS[self.encoding][0], 1)


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds, by its header.

    Attributes:
        sample_rate_hz: Samples a second of one channel.
        num_channels: Channels.
        num_samples: Samples of one channel.
    """

    sample_rate_hz: int
    num_channels: int
    num_samples: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz


def probe_audio(path: Path, pcm: PcmFormat | None = None) -> AudioInfo:
    """Read a file's header only.

    Args:
        path: Any file that libsndfile reads, or a headerless one.
        pcm: Format of a headerless file; None for a file that says itself what it is.

    Raises:
        DataError: There is no such file, it is not audio, it is cut off, or it is empty.
    """
    with open_audio(path, pcm) as file:
        return describe(path, file)


def open_audio(path: Path, pcm: PcmFormat | None) -> soundfile.SoundFile:
    """Open a file for reading, after the checks that need no samples.

    Raises:
        DataError: As `probe_audio`.
    """
    _check_is_file(path)
    try:
        if pcm is None:
            return _open_with_header(path)
        return _open_headerless(path, pcm)
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"cannot read {path} as audio: {error.error_string.rstrip('.')}", hint=_cure(path)
        ) from None


def describe(path: Path, file: soundfile.SoundFile) -> AudioInfo:
    """Sizes of an open file, checked.

    Raises:
        DataError: The file holds no samples, fewer than it promises, or has an absurd rate.
    """
    info = AudioInfo(file.samplerate, file.channels, file.frames)
    if not MIN_RATE_HZ <= info.sample_rate_hz <= MAX_RATE_HZ:
        raise DataError(
            _rate_message(str(path), info.sample_rate_hz),
            hint="the header is damaged; export it again",
        )
    if info.num_samples == UNKNOWN_LENGTH:
        raise DataError(
            f"{path} does not say how long it is; its encoder wrote into a pipe",
            hint="encode it again into a file, or write WAV into the pipe",
        )
    _check_complete(path, file)
    if info.num_samples == 0:
        raise _without_samples(path)
    return info


def conversion(path: Path) -> str:
    """A command that makes a readable file of a recording in another format.

    >>> conversion(Path("calls/take 1.m4a"))
    "`ffmpeg -i 'take 1.m4a' 'take 1.wav'`"
    """
    names = (shlex.quote(name) for name in (path.name, f"{path.stem}.wav"))
    return f"`ffmpeg -i {' '.join(names)}`"


def truncated(path: Path, details: str) -> DataError:
    """The error for a file that is shorter than it promises."""
    return DataError(f"{path} is cut off: {details}", hint="copy or download it again")


def _check_is_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    if stat.S_ISDIR(mode):
        raise DataError(f"{path} is a directory, expected an audio file")
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is a device or pipe, expected an audio file")


def _open_with_header(path: Path) -> soundfile.SoundFile:
    if path.suffix.lower() in _HEADERLESS_SUFFIXES:
        raise DataError(
            f"{path} is headerless by its name, and its format is not stated",
            hint=f"state it ({_WAYS_TO_STATE}); if it has a header nevertheless, rename it",
        )
    return soundfile.SoundFile(_name(path))


def _open_headerless(path: Path, pcm: PcmFormat) -> soundfile.SoundFile:
    if _head(path, 4) in _HEADER_MAGIC:
        raise DataError(
            f"{path} has a header of its own, but a headerless format was stated for it",
            hint="leave the format out, and let its name not end in .raw or .pcm",
        )
    num_bytes = path.stat().st_size
    if num_bytes % pcm.bytes_per_frame:
        raise DataError(
            f"{path} has {num_bytes} bytes, which is no multiple of the {pcm.bytes_per_frame} "
            f"of one {pcm.encoding} sample in {pcm.num_channels} channel(s)",
            hint="the stated format is wrong, or the file is cut off",
        )
    subtype, endian = _ENCODINGS[pcm.encoding]
    return soundfile.SoundFile(
        _name(path),
        format="RAW",
        subtype=subtype,
        endian=endian,
        samplerate=pcm.sample_rate_hz,
        channels=pcm.num_channels,
    )


def _name(path: Path) -> bytes | Path:
    """As bytes, which soundfile takes as they are: names on POSIX need not be valid text."""
    return os.fsencode(path) if os.name == "posix" else path


def _head(path: Path, num_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(num_bytes)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _cure(path: Path) -> str:
    head = _head(path, 1024)
    if not head:
        return "the file is empty"
    if head.startswith(b"NIST") and b"shorten" in head:
        return "it is compressed by shorten; convert it with sph2pipe"
    if head[:4] in _HEADER_MAGIC:
        return "it is damaged or cut off; copy or download it again"
    if path.suffix.lower() in UNREAD_SUFFIXES:
        return f"convert it first, such as with {conversion(path)}"
    return (
        "expected WAV, FLAC, Ogg, MP3, AIFF or NIST sphere; if it is headerless, state its format "
        f"({_WAYS_TO_STATE})"
    )


def _rate_message(name: str, rate_hz: int) -> str:
    return f"{name}: sampling rate {rate_hz} Hz, expected {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"


def _check_complete(path: Path, file: soundfile.SoundFile) -> None:
    """Refuse a file that ends before what its header promises; libsndfile cuts silently."""
    if file.format == "OGG":
        _check_last_ogg_page(path)
    elif file.format == "MP3":
        check_length_known(path)
    elif file.format == "NIST":
        count = _NIST_COUNT.search(_head(path, 1024))
        if count and int(count[1]) > file.frames:
            raise truncated(path, f"{file.frames} of {int(count[1])} samples")
    elif file.format in _SIZED_FORMATS:
        for promised, found in _SIZE_MISMATCH.findall(file.extra_info):
            if int(found) < int(promised) < _PLACEHOLDER_SIZE:
                raise truncated(path, f"{found} of {promised} bytes of samples")


def _without_samples(path: Path) -> DataError:
    """The error for a header of no samples: some programs write their number at last."""
    num_bytes = path.stat().st_size
    if num_bytes <= _MAX_EMPTY_BYTES:
        return DataError(f"{path} holds no samples", hint="delete it, or record it again")
    return DataError(
        f"{path} holds no samples by its header, but has {num_bytes:,} bytes",
        hint="where its recorder was stopped, they are the recording: have its length written, "
        f"such as with `ffmpeg -i {shlex.quote(path.name)} mended.wav`",
    )


def _check_last_ogg_page(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_OGG_MAX_PAGE_BYTES)
        size = file.seek(0, 2)
        file.seek(max(0, size - _OGG_MAX_PAGE_BYTES))
        tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    if start < 0 or len(page) < 27 or len(page) < _ogg_page_bytes(page):
        raise truncated(path, "its last Ogg page is incomplete")
    if page[14:18] not in _ogg_streams(head):
        raise several_streams(path)


def _ogg_page_bytes(page: bytes) -> int:
    """Length of the page that begins here, as far as its head is there."""
    num_segments = page[26]
    return 27 + num_segments + sum(page[27 : 27 + num_segments])


def _ogg_streams(head: bytes) -> set[bytes]:
    """Serial numbers of the streams that begin together: pages with their flag come first."""
    serials: set[bytes] = set()
    while len(head) >= 27 and head[:4] == b"OggS" and head[5] & 2:
        serials.add(head[14:18])
        head = head[_ogg_page_bytes(head) :]
    return serials
