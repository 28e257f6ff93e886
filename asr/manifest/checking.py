"""Whether utterances can be used: their audio, and their transcripts under CTC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from asr.audio import AudioInfo, PcmFormat, check_channel, probe_audio, sample_range
from asr.ctc import min_frames
from asr.errors import DataError
from asr.manifest.utterance import Utterance
from asr.text import TextConfig, normalize
from asr.tokens import Tokenizer

_MAX_SHOWN = 5

FrameCounter = Callable[[int, int], int]
"""Samples, and their rate in Hz, to the frames that a model puts out for them."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an utterance cannot be used."""

    utterance_id: str
    reason: str


def check_manifest(
    utterances: Sequence[Utterance],
    *,
    tokenizer: Tokenizer | None = None,
    text: TextConfig | None = None,
    num_frames: FrameCounter | None = None,
) -> list[Problem]:
    """Everything that keeps utterances from being trained on or scored.

    Audio headers are read, once a file, no samples: the file is there and is audio, the range is
    inside it, the channel exists. With a tokenizer: the normalised transcript has known tokens, or
    none where it is empty as it stands, since nothing is said; and with frames to count: what
    reading gives makes at least one, and enough of them for CTC.

    Args:
        utterances: What to check.
        tokenizer: Tokens the transcripts must be written in; None to leave transcripts alone.
        text: Their normalisation; None for `TextConfig()`.
        num_frames: Frames that the model puts out for so many samples at the file's own rate.

    Returns:
        All problems in the order of `utterances`; an utterance can have several.
    """
    probe = lru_cache(maxsize=4096)(_probe)
    config = TextConfig() if text is None else text
    problems = []
    ids: set[str] = set()
    for utterance in utterances:
        reasons, length = _check_audio(utterance, probe)
        if tokenizer is not None:
            frames = num_frames(*length) if num_frames is not None and length is not None else None
            reasons += _transcript_reasons(utterance, tokenizer, config, frames)
        if utterance.id in ids:
            reasons.append("its id occurs more than once")
        ids.add(utterance.id)
        problems += [Problem(utterance.id, reason) for reason in reasons]
    return problems


def require_readable(utterances: Sequence[Utterance]) -> None:
    """Refuse a set of which some audio cannot be used, before any work is done on the rest.

    Raises:
        DataError: Naming the first utterances and counting all.
    """
    problems = check_manifest(utterances)
    if not problems:
        return
    num_bad = len({problem.utterance_id for problem in problems})
    named = "; ".join(f"{one.utterance_id}: {one.reason}" for one in problems[:_MAX_SHOWN])
    more = len(problems) - _MAX_SHOWN
    raise DataError(
        f"{num_bad} of {len(utterances)} utterances cannot be used: {named}"
        + (f"; and {more} more" if more > 0 else ""),
        hint="mend the audio, or remove those lines",
    )


def _probe(path: Path, pcm: PcmFormat | None) -> AudioInfo | DataError:
    try:
        return probe_audio(path, pcm)
    except DataError as error:
        return error


def _check_audio(
    utterance: Utterance, probe: Callable[[Path, PcmFormat | None], AudioInfo | DataError]
) -> tuple[list[str], tuple[int, int] | None]:
    """What is wrong, and (num_samples, sample_rate_hz) of what would be read where that exists."""
    info = probe(utterance.audio_path, utterance.pcm)
    if isinstance(info, DataError):
        return [info.message], None
    reasons = []
    length = None
    try:
        check_channel(utterance.channel, info.num_channels)
    except DataError as error:
        reasons.append(f"{utterance.audio_path}: {error.message}")
    try:
        start, stop = sample_range(info, utterance.read_options())
        length = (stop - start, info.sample_rate_hz)
    except DataError as error:
        reasons.append(f"{utterance.audio_path}: {error.message}")
    return reasons, length


def _transcript_reasons(
    utterance: Utterance, tokenizer: Tokenizer, text: TextConfig, num_frames: int | None
) -> list[str]:
    try:
        tokens = tokenizer.encode(normalize(utterance.text, text))
    except DataError as error:
        return [error.message]
    if not tokens and utterance.text.strip():
        return ["the text profile leaves nothing of its transcript"]
    if num_frames is None:
        return []
    if num_frames == 0:
        return [f"{utterance.duration_s:.3f} s give no frame: too short for the model"]
    needed = min_frames(tokens)
    if num_frames >= needed:
        return []
    return [
        f"{utterance.duration_s:.3f} s give {num_frames} frames, "
        f"too short for CTC: its {len(tokens)} tokens need {needed}"
    ]
