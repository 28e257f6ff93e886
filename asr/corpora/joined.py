"""Short recordings joined to longer ones: words said alone become words said in a row.

What it is: utterances of a manifest, one to `max_pieces` of one speaker at a time, with pauses
between; each is used equally often. Pauses, levels and noise are drawn, so that few recordings
stand for many rooms and microphones; what recorders do to single words can be drawn too
(`asr.corpora.recorders`). `asr cut` makes such manifests of longer recordings.

Layout: `--source` is the manifest; audio goes to `joined-…/` below `--out`. Everything is for
training. Speakers that the manifest does not name count as one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from asr.audio import Waveform, read_audio, resample, write_audio
from asr.corpora.layout import NOT_IN_NAMES
from asr.corpora.listing import Entry, Importer, Listing, Splits
from asr.corpora.recorders import RecorderOptions, draw_recorder
from asr.corpora.synthetic import coloured_noise
from asr.errors import DataError
from asr.manifest import Utterance, read_manifest
from asr.progress import progress_bar

MAX_PIECES = 7
"""Recordings of a joined utterance at most; as many digits as in TIDIGITS (Leonard, 1984)."""

PAUSE_S = (0.05, 0.4)
"""Bounds of the pause between recordings: from run together to hesitating."""

EDGE_S = 0.1
"""Pause before the first and after the last recording."""

PAUSE_RMS = 1e-3
"""Level of the noise in pauses, 60 dB below full scale: no microphone gives digital silence."""

Joiner = Callable[[Sequence[Waveform], np.random.Generator], Waveform]
"""Recordings of one sampling rate to one of them all, and what drawn things are drawn from."""


class JoinedOptions(RecorderOptions):
    """What is made of the recordings; shares of `RecorderOptions` say what recorders do to them.

    Attributes:
        per_speaker: Utterances of each speaker.
        max_pieces: Recordings of an utterance at most.
        sample_rate_hz: Of the audio written.
        seed: Of everything drawn.
    """

    per_speaker: int = Field(10, ge=1)
    max_pieces: int = Field(MAX_PIECES, ge=1)
    sample_rate_hz: int = Field(16000, ge=1000, le=192000)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class JoinPlan:
    """How the recordings of each speaker are joined.

    Attributes:
        count: Utterances to make of each speaker.
        max_pieces: Recordings of an utterance at most.
        folder: Where the audio goes.
        prefix: Of the ids, before speaker and number.
        joiner: `join` or `join_varied`.
        seed: Of everything drawn.
        sample_rate_hz: Of the audio written; None for that of the recordings.
    """

    count: int
    max_pieces: int
    folder: Path
    prefix: str
    joiner: Joiner
    seed: int
    sample_rate_hz: int | None = None


def find_joined(source: Path, options: JoinedOptions) -> Listing:
    """The manifest itself; `join_all` makes what there is to write.

    Raises:
        DataError: The manifest cannot be read.
    """
    entries = [
        Entry(
            id=one.id,
            audio_path=one.audio_path,
            text=one.text,
            speaker=one.speaker,
            start_s=one.start_s,
            duration_s=one.duration_s,
            channel=one.channel,
            pcm=one.pcm,
        )
        for one in read_manifest(source)
    ]
    return Listing({"train": entries})


def join_all(splits: Splits, out: Path, options: JoinedOptions) -> Splits:
    """Joined utterances in place of the recordings they are made of.

    Raises:
        DataError: Audio cannot be read or written.
    """
    names = (options.per_speaker, options.max_pieces, options.sample_rate_hz, options.seed)
    plan = JoinPlan(
        options.per_speaker,
        options.max_pieces,
        out / "-".join(map(str, ("joined", *names, *recorder_names(options)))),
        "joined",
        partial(join_varied, recorders=options),
        options.seed,
        options.sample_rate_hz,
    )
    return {"train": join_speakers(splits["train"], plan)}


def recorder_names(recorders: RecorderOptions) -> list[str]:
    """What a folder's name says of the recorders; nothing where all are off."""
    letters = zip(
        "sgc", (recorders.shelf_share, recorders.gate_share, recorders.cut_share), strict=True
    )
    return [f"{letter}{share:g}" for letter, share in letters if share]


def join_speakers(recordings: Sequence[Utterance], plan: JoinPlan) -> list[Utterance]:
    """Write joined utterances of each speaker; those that nobody is named for count as one.

    A speaker's utterances depend on the speaker's name and recordings and on the plan, not on who
    else there is.

    Raises:
        DataError: Audio cannot be read or written, or two speakers' files would have one name.
    """
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for one in recordings:
        by_speaker[one.speaker or "unknown"].append(one)
    _require_own_names(by_speaker)
    joined: list[Utterance] = []
    with progress_bar("joining", plan.count * len(by_speaker)) as advance:
        for speaker, own in sorted(by_speaker.items()):
            generator = np.random.default_rng([plan.seed, *speaker.encode()])
            for utterance in _join_speaker(speaker, own, plan, generator):
                joined.append(utterance)
                advance()
    return joined


def _require_own_names(speakers: Iterable[str]) -> None:
    """Refuse speakers whose files would replace each other's."""
    first: dict[str, str] = {}
    for speaker in speakers:
        other = first.setdefault(_file_name(speaker), speaker)
        if other != speaker:
            raise DataError(
                f"files of the speakers {other!r} and {speaker!r} would have the same names",
                hint="rename one of the two in the manifest",
            )


def _file_name(speaker: str) -> str:
    return re.sub(NOT_IN_NAMES, "_", speaker)


def _join_speaker(
    speaker: str, recordings: Sequence[Utterance], plan: JoinPlan, generator: np.random.Generator
) -> Iterator[Utterance]:
    """Write utterances of one speaker, each of drawn recordings, all used equally often."""
    draw = _deal(len(recordings), generator)
    waveforms = [read_audio(one.audio_path, one.read_options()) for one in recordings]
    if plan.sample_rate_hz is not None:
        waveforms = [resample(waveform, plan.sample_rate_hz) for waveform in waveforms]
    for number in range(plan.count):
        chosen = [next(draw) for _ in range(generator.integers(1, plan.max_pieces + 1))]
        waveform = plan.joiner([waveforms[index] for index in chosen], generator)
        utterance_id = f"{plan.prefix}_{_file_name(speaker)}_{number:04d}"
        path = plan.folder / f"{utterance_id}.flac"
        write_audio(path, waveform)
        text = " ".join(recordings[index].text for index in chosen)
        yield Utterance(utterance_id, path, waveform.duration_s, text, speaker=speaker)


def join(recordings: Sequence[Waveform], generator: np.random.Generator) -> Waveform:
    """Recordings one after the other, with drawn pauses of faint noise around them.

    Args:
        recordings: At least one; all of one sampling rate.
        generator: Pauses and their noise are drawn from it.

    Returns:
        `EDGE_S`, the first recording, a pause within `PAUSE_S`, the second, …, `EDGE_S`.

    Raises:
        DataError: Sampling rates differ.
    """
    rate_hz = _common_rate_hz(recordings)

    def pause(duration_s: float) -> np.ndarray:
        return generator.normal(0.0, PAUSE_RMS, round(duration_s * rate_hz)).astype(np.float32)

    pieces = [pause(EDGE_S)]
    for recording in recordings:
        pieces += [recording.samples, pause(generator.uniform(*PAUSE_S))]
    pieces[-1] = pause(EDGE_S)
    return Waveform(np.concatenate(pieces), rate_hz)


def join_varied(
    recordings: Sequence[Waveform],
    generator: np.random.Generator,
    recorders: RecorderOptions | None = None,
) -> Waveform:
    """Recordings one after the other, as if somebody else had recorded them somewhere else.

    Drawn are: the pauses, from none to long; their noise, coloured and 15 to 55 dB below the
    speech; for six of ten, noise under all of it, 8 to 40 dB below; for half, up to 4 dB more or
    less of each recording; and a peak of 1 to 30 dB below full scale.

    Args:
        recordings: At least one; all of one sampling rate.
        generator: Of everything drawn.
        recorders: What one recorder, drawn for all of them, does to each before; None for nothing.

    Raises:
        DataError: Sampling rates differ.
    """
    rate_hz = _common_rate_hz(recordings)
    record = draw_recorder(recorders or RecorderOptions(), rate_hz, generator)
    samples = [record(recording.samples.astype(np.float64)) for recording in recordings]
    speech_rms = max(float(np.sqrt(np.mean(np.concatenate(samples) ** 2))), 1e-6)
    pause_rms = speech_rms * _gain(generator.uniform(-55, -15))
    colour = generator.uniform(0, 2)
    spread_db = 4.0 if generator.random() < 0.5 else 0.0
    longest_s = generator.choice([0.15, 0.4, 0.7])

    def pause(duration_s: float) -> np.ndarray:
        num_samples = max(1, round(duration_s * rate_hz))
        return pause_rms * coloured_noise(num_samples, colour, generator)

    pieces = [pause(generator.uniform(0.03, 0.3))]
    for recording in samples:
        level = _gain(generator.uniform(-spread_db, spread_db))
        pieces += [level * recording, pause(generator.uniform(0, longest_s))]
    joined = np.concatenate(pieces)
    if generator.random() < 0.6:
        noise = coloured_noise(len(joined), generator.uniform(0, 2), generator)
        joined += speech_rms * _gain(-generator.uniform(8, 40)) * noise
    joined *= _gain(-generator.uniform(1, 30)) / max(float(np.abs(joined).max()), 1e-9)
    return Waveform(joined.astype(np.float32), rate_hz)


def _gain(level_db: float) -> float:
    return float(10 ** (level_db / 20))


def _common_rate_hz(recordings: Sequence[Waveform]) -> int:
    rates = sorted({recording.sample_rate_hz for recording in recordings})
    if len(rates) > 1:
        raise DataError(f"recordings to be joined have sampling rates {rates}; expected one")
    return rates[0]


def _deal(num_cards: int, generator: np.random.Generator) -> Iterator[int]:
    """Indices as from a deck that is shuffled whenever it is used up: each equally often."""
    while True:
        yield from (int(card) for card in generator.permutation(num_cards))


IMPORTER = Importer(JoinedOptions, find_joined, join_all)
