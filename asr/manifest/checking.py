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

FrameCounter = Callable[[float], int]
"""Seconds of audio to the frames that a model puts out for them."""


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
    none where it is empty as it stands, since nothing is said; and with a frame rate: CTC has
    frames enough for them.

    Args:
        utterances: What to check.
        tokenizer: Tokens the transcripts must be written in; None to leave transcripts alone.
        text: Their normalisation; None for `TextConfig()`.
        num_frames: Frames that the model puts out for so many seconds of audio.

    Returns:
        All problems in the order of `utterances`; an utterance can have several.
    """
    probe = lru_cache(maxsize=4096)(_probe)
    config = TextConfig() if text is None else text
    problems = []
    ids: set[str] = set()
    for utterance in utterances:
        reasons = _audio_reasons(utterance, probe)
        if tokenizer is not None:
            reasons += _transcript_reasons(utterance, tokenizer, config, num_frames)
        if utterance.id in ids:
            reasons.append("its id occurs more than once")
        ids.add(utterance.id)
        problems += [Problem(utterance.id, reason) for reason in reasons]
    return problems


def _probe(path: Path, pcm: PcmFormat | None) -> AudioInfo | DataError:
    try:
        return probe_audio(path, pcm)
    except DataError as error:
        return error


def _audio_reasons(
    utterance: Utterance, probe: Callable[[Path, PcmFormat | None], AudioInfo | DataError]
) -> list[str]:
    info = probe(utterance.audio_path, utterance.pcm)
    if isinstance(info, DataError):
        return [info.message]
    reasons = []
    for check in (
        lambda: check_channel(utterance.channel, info.num_channels),
        lambda: sample_range(info, utterance.read_options()),
    ):
        try:
            check()
        except DataError as error:
            reasons.append(f"{utterance.audio_path}: {error.message}")
    return reasons


def _transcript_reasons(
    utterance: Utterance, tokenizer: Tokenizer, text: TextConfig, count: FrameCounter | None
) -> list[str]:
    try:
        tokens = tokenizer.encode(normalize(utterance.text, text))
    except DataError as error:
        return [error.message]
    if not tokens and utterance.text.strip():
        return ["the text profile leaves nothing of its transcript"]
    if count is None:
        return []
    num_frames = count(utterance.duration_s)
    needed = min_frames(tokens)
    if num_frames >= needed:
        return []
    return [
        f"{utterance.duration_s:.3f} s give {num_frames} frames, "
        f"too short for CTC: its {len(tokens)} tokens need {needed}"
    ]
