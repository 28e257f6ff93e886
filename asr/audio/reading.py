"""Read audio: any format and rate, one channel or the mix, the whole or a range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr.audio.headers import (
    UNKNOWN_LENGTH,
    AudioInfo,
    PcmFormat,
    describe,
    open_audio,
    truncated,
)
from asr.audio.resampling import resample
from asr.audio.waveform import Channel, Waveform, check_channel, to_mono
from asr.errors import DataError

RANGE_TOLERANCE_S = 0.01
"""How far a range may pass the end of its file, and then ends with it: the rounding of times
written with two decimals."""

_BLOCK_VALUES = 1 << 20
_EXPORT_AGAIN = "the program that wrote it is at fault; export it again"
_LONG_HINT = (
    "cut it first, such as with `ffmpeg -i FILE -f segment -segment_time 1800 part%03d.wav`; "
    "in Python, read ranges, or raise `ReadOptions.max_duration_s`"
)
# Encoders differ in whether an MP3's length counts its header frame and padding: two frames.
_MP3_SLACK = 2 * 1152
# A frame of an MP3 may begin in those before it: up to 511 bytes back, or 255 where a frame has 576
# samples, and of the smallest of those three bytes count. libsndfile goes back four frames only, so
# as many samples as may matter are decoded before the first and thrown away.
_MP3_LEAD = 100 * 576


@dataclass(frozen=True)
class ReadOptions:
    """What to read of a file, and as what.

    Attributes:
        start_s: Where the range begins, in seconds from the beginning of the file.
        duration_s: Length of the range in seconds; None to the end of the file.
        sample_rate_hz: Rate to resample to (needs the extra ``train``); None for the file's own.
        channel: `"mix"`, the mean of all channels, or the index of one from 0.
        pcm: Format of a headerless file.
        max_duration_s: A longer range is refused before memory is taken for it.
    """

    start_s: float = 0.0
    duration_s: float | None = None
    sample_rate_hz: int | None = None
    channel: Channel = "mix"
    pcm: PcmFormat | None = None
    max_duration_s: float = 3600.0


def read_audio(path: Path | str, options: ReadOptions = ReadOptions()) -> Waveform:
    """Read a file, or a range of it, as a mono waveform.

    Only the range is read and decoded. It is cut out at the file's own rate, then resampled.

    Args:
        path: Any file that libsndfile reads, or a headerless one with `options.pcm`.
        options: What to read, and as what.

    Raises:
        DataError: The file is missing, no audio, cut off, empty or too long; the range or the
            channel is not in it; a sample is NaN, infinite or far out of range; `path` names none.
        MissingExtraError: It has to be resampled, and torchaudio is not installed.
    """
    if not isinstance(path, Path | str):
        raise DataError(
            f"path must be the name of a file, got {type(path).__name__}",
            hint="of samples make a Waveform",
        )
    if not isinstance(options, ReadOptions):
        raise DataError(
            f"options must be ReadOptions, got {type(options).__name__}",
            hint="such as ReadOptions(sample_rate_hz=16000)",
        )
    path = Path(path)
    with open_audio(path, options.pcm) as file:
        info = describe(path, file)
        try:
            check_channel(options.channel, info.num_channels)
            start, stop = sample_range(info, options)
        except DataError as error:
            raise DataError(f"{path}: {error.message}", hint=error.hint) from None
        samples = _read_range(path, file, start, stop, options.channel)
    try:
        waveform = Waveform(samples, info.sample_rate_hz)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint or _EXPORT_AGAIN) from None
    if options.sample_rate_hz is None:
        return waveform
    return resample(waveform, options.sample_rate_hz)


def sample_range(info: AudioInfo, options: ReadOptions) -> tuple[int, int]:
    """First sample of a range, and one past its last, at the file's own rate.

    Raises:
        DataError: The range is empty, not a range, not inside the file, or too long.
    """
    rate = info.sample_rate_hz
    _check_options(options)
    start = round(min(options.start_s * rate, UNKNOWN_LENGTH))  # no file is as long
    stop = info.num_samples
    if options.duration_s is not None:
        stop = round(min((options.start_s + options.duration_s) * rate, UNKNOWN_LENGTH))
    slack = math.ceil(RANGE_TOLERANCE_S * rate)
    if start >= info.num_samples or stop > info.num_samples + slack:
        raise DataError(
            f"the range {start / rate:.3f} s to {stop / rate:.3f} s is not inside the file, "
            f"which is {info.duration_s:.3f} s long"
        )
    stop = min(stop, info.num_samples)
    if stop <= start:
        raise DataError(f"the range of {options.duration_s} s holds no sample at {rate} Hz")
    if (stop - start) / rate > options.max_duration_s:
        raise DataError(
            f"{(stop - start) / rate:.0f} s of audio, above the limit of "
            f"{options.max_duration_s:g} s",
            hint=_LONG_HINT,
        )
    return start, stop


def _check_options(options: ReadOptions) -> None:
    if not (math.isfinite(options.start_s) and options.start_s >= 0):
        raise DataError(f"start_s must be 0 or more, got {options.start_s}")
    duration_s = options.duration_s
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise DataError(f"duration_s must be above 0, got {duration_s}")
    if options.sample_rate_hz is not None and options.sample_rate_hz <= 0:
        raise DataError(f"sample_rate_hz must be above 0, got {options.sample_rate_hz}")


def _read_range(
    path: Path, file: soundfile.SoundFile, start: int, stop: int, channel: Channel
) -> np.ndarray:
    """(stop - start,) float32 of the chosen channel; the others take no memory."""
    try:
        if file.channels == 1:
            lead = min(start, _most_lead(file))
            _skip(file, start - lead)
            samples: np.ndarray = file.read(lead + stop - start, dtype="float32")[lead:]
        else:
            samples = _read_blocks(file, start, stop, channel)
    except soundfile.LibsndfileError as error:
        raise truncated(path, error.error_string) from None
    if len(samples) < stop - start - (_MP3_SLACK if _is_mp3(file) else 0):
        raise truncated(path, f"only {len(samples)} of {stop - start} samples are there")
    return samples


def _skip(file: soundfile.SoundFile, num_samples: int) -> None:
    """Go to a sample of a file just opened."""
    if file.seekable():
        file.seek(num_samples)
        return
    while num_samples > 0:  # GSM 6.10 cannot seek
        num_read = len(file.read(min(num_samples, _BLOCK_VALUES), dtype="float32"))
        if num_read == 0:
            return
        num_samples -= num_read


def _read_blocks(file: soundfile.SoundFile, start: int, stop: int, channel: Channel) -> np.ndarray:
    samples = np.empty(stop - start, dtype=np.float32)
    buffer = np.empty((max(1, _BLOCK_VALUES // file.channels), file.channels), dtype=np.float32)
    _skip(file, start)
    done = 0
    while done < len(samples):
        lead = min(start + done, _most_lead(file))
        if lead:  # of every block, since soundfile seeks after each
            file.seek(start + done - lead)
        num_wanted = min(len(buffer), lead + len(samples) - done)
        block = file.read(num_wanted, out=buffer)[lead:]
        if len(block) == 0:
            break
        samples[done : done + len(block)] = to_mono(block, channel)
        done += len(block)
    return samples[:done]


def _most_lead(file: soundfile.SoundFile) -> int:
    """Samples before a place in the file that what is decoded there may depend on."""
    return _MP3_LEAD if _is_mp3(file) else 0


def _is_mp3(file: soundfile.SoundFile) -> bool:
    return bool(file.subtype.startswith("MPEG"))
