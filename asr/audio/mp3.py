"""Whether an MP3 file says how long it is.

An MP3 is a row of frames without a table of contents. Encoders put a tag with the number of frames
into the first one (``Xing``, ``Info``, ``VBRI``); without it the decoder takes the length from the
file size and the first frame's bit rate, which is right only where the bit rate is constant. With
it the decoder ends there, also where another file was appended, as by ``cat``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from asr.errors import DataError

_TAGS = (b"Xing", b"Info", b"VBRI")
_MAX_FRAMES = 100
_MAX_FRAME_BYTES = 2880
# Encoders differ in whether the bytes of a tag count its own frame; fewer frames may be that.
_MIN_APPENDED = 5
# ISO 11172-3 and 13818-3, layer III, by the header's index: kbit/s of MPEG 1, then of MPEG 2.
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def check_length_known(path: Path) -> None:
    """Refuse an MP3 file whose bit rate varies and that has no tag with its length, or a wrong one.

    libsndfile would end such a file early, or late, without a word.

    Raises:
        DataError: The file is one of those.
    """
    with path.open("rb") as file:
        start = _skip_id3(file, 0)
        frames = file.read(_MAX_FRAMES * _MAX_FRAME_BYTES)
        tag = next((tag for tag in _TAGS if tag in frames[:_MAX_FRAME_BYTES]), None)
        if tag is not None:
            num_bytes = _tagged_bytes(frames[frames.index(tag) :])
            _skip_id3(file, start + num_bytes)
            appended = file.read(_MIN_APPENDED * _MAX_FRAME_BYTES) if num_bytes else b""
    if tag is None and len(set(_bit_rates(frames))) > 1:
        raise DataError(
            f"{path} has a variable bit rate and does not say how long it is",
            hint="encode it again; ffmpeg, lame and sox write the length",
        )
    if tag is not None and len(list(_bit_rates(appended))) >= _MIN_APPENDED:
        raise several_streams(path)


def several_streams(path: Path) -> DataError:
    """The error for files that were appended to each other."""
    return DataError(
        f"{path} is several recordings one after the other, of which only the first would be read",
        hint=f"encode it again as one, such as with `ffmpeg -i {shlex.quote(path.name)} whole.wav`",
    )


def _skip_id3(file: BinaryIO, start: int) -> int:
    """Go to what follows the ID3 tag at a place, if there is one; returns where that is."""
    file.seek(start)
    head = file.read(10)
    return file.seek(start + (10 + _id3_size(head) if head[:3] == b"ID3" else 0))


def _tagged_bytes(tag: bytes) -> int:
    """Bytes from the first frame on by a tag ``Xing`` or ``Info``; 0 where it does not say."""
    flags, numbers = int.from_bytes(tag[4:8], "big"), tag[8:]
    if tag[:4] not in (b"Xing", b"Info") or not flags & 2:
        return 0
    return int.from_bytes(numbers[4:8] if flags & 1 else numbers[:4], "big")


def _id3_size(head: bytes) -> int:
    """Bytes after an ID3 tag's head of 10: four bytes of seven bits each."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size


def _bit_rates(frames: bytes) -> Iterator[int]:
    """kbit/s of successive frames, as far as they follow each other without a gap."""
    start = 0
    for _ in range(_MAX_FRAMES):
        header = frames[start : start + 4]
        if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
            return
        version = header[1] >> 3 & 3
        rate_index = header[2] >> 2 & 3
        kbits = (_KBITS_1 if version == 3 else _KBITS_2)[header[2] >> 4]
        if version not in _RATES_HZ or rate_index == 3 or kbits == 0:
            return
        yield kbits
        samples_per_frame = 1152 if version == 3 else 576
        num_bytes = samples_per_frame * kbits * 125 // _RATES_HZ[version][rate_index]
        start += num_bytes + (header[2] >> 1 & 1)
