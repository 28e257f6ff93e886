"""What degraded audio does to the word errors of models: a markdown table.

    python tools/robustness.py MANIFEST [MANIFEST …] --model MODEL [--model MODEL …] --noise DIR
        [--out table.md] [--seed 0] [--decoder greedy] [--lm FILE] [...]

Each manifest gives a table: errors, word error rate, and that rate over the one of clean audio, of
each model with greedy decoding and, where its file or the options of `asr evaluate` ask for beam
search, with that too. Audio is degraded in memory, at the rate of the model:

* noise: an excerpt of a file below --noise, 20, 10 or 5 dB below the speech (energy over the whole
  utterance, pauses included); an utterance gets the same excerpt at all three. Of the files,
  sorted by path and counted from 0, only those at odd places are used, so that training may have
  the others (`augment.noise.files = "even"`).
* telephone: 300 to 3400 Hz, 8 bit µ-law codes at 8 kHz.
* MP3: 32 kbit/s at 16 kHz (LAME in libsndfile), decoded and moved back in place.
* far field: exponentially decaying reverberation, RT60 drawn from 0.3 to 0.6 s, as much energy as
  the direct sound (0 dB).
* level: 6 dB up, cut off at full scale where it goes beyond, and 6 dB down.
* speed: pitch and tempo together, as a tape played slower or faster.

What is drawn depends on --seed and the id of the utterance alone. Nothing is written but --out.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import torch
import typer
from torch import Tensor

from asr.audio import Waveform, resample
from asr.augment import effects
from asr.augment.noise import NoiseLibrary
from asr.augment.seeds import draw_uniform
from asr.cli import run_command
from asr.cli.arguments import Device
from asr.cli.decoding_options import DecodingOptions, takes_decoding_options
from asr.decoder_setup import DecodingChoice
from asr.errors import DataError
from asr.evaluation import score_texts
from asr.files import write_text_atomic
from asr.manifest import read_manifest
from asr.progress import progress_bar
from asr.recognizer import Recognizer, read_groups
from asr.shipped import resolve_model
from asr.text import normalize
from asr.wer import ErrorCounts

CLEAN = "clean"
MP3_RATE_HZ = 16000
MP3_KBITS = 32
RANGE_KBITS = (8, 160)
"""Least and greatest bit rate of MPEG-2 layer III, 16 to 24 kHz; libsndfile's compression level is
the place between them, from the greatest (0) to the least (1)."""
MAX_CACHED_S = 1800.0
MAX_DELAY_SAMPLES = 2400
"""How far the decoded audio is searched for the original: LAME and its decoder delay by 1105."""

Effect = Callable[[Tensor, int, torch.Generator], Tensor]
"""(num_samples,) float32, its rate in Hz, what draws; the degraded samples at the same rate."""


@dataclass(frozen=True)
class System:
    """A model with one way of decoding.

    Attributes:
        name: Head of its columns.
        recognizer: Of the model.
    """

    name: str
    recognizer: Recognizer


def robustness(
    manifests: Annotated[list[Path], typer.Argument(help="JSONL manifests; a table for each.")],
    model: Annotated[
        list[str],
        typer.Option(metavar="MODEL", help="Model file, or a name of `asr models`; repeatable."),
    ],
    noise: Annotated[Path, typer.Option(metavar="DIR", help="Noise recordings.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables here.")] = None,
    seed: Annotated[int, typer.Option(help="Of noise excerpts and rooms.")] = 0,
    device: Device = "auto",
    decoding: DecodingOptions = DecodingOptions(),  # noqa: B008 - immutable
) -> None:
    """What degraded audio does to the word errors of models: a markdown table."""
    models = [systems_of(name, device, decoding.choice()) for name in model]
    if len(models) > 1:
        models = [
            [System(f"{number} {one.name}", one.recognizer) for one in systems]
            for number, systems in enumerate(models, start=1)
        ]
    effects_by_name = all_effects(NoiseLibrary(noise, MAX_CACHED_S, "odd"))
    parts = []
    for manifest in manifests:
        counts: dict[str, dict[str, ErrorCounts]] = {name: {} for name in effects_by_name}
        for systems in models:
            for condition, name, count in measure(manifest, systems, effects_by_name, seed):
                counts[condition][name] = count
        parts.append(f"{table(counts)}\n\n{manifest}, seed {seed}, noise {noise} (odd places)")
    parts += [
        f"{one.name}: {name}, {one.recognizer.decoding}"
        for name, systems in zip(model, models, strict=True)
        for one in systems
    ]
    text = "\n\n".join(parts) + "\n"
    if out is not None:
        write_text_atomic(out, text)
    typer.echo(text, nl=False)


def systems_of(model: str, device: str, choice: DecodingChoice) -> list[System]:
    """The model with greedy decoding, and as chosen where that is beam search."""
    recognizer = Recognizer.load(resolve_model(model), device, choice)
    systems = [System("greedy", recognizer.with_decoding(DecodingChoice(decoder="greedy")))]
    if recognizer.decoding != systems[0].recognizer.decoding:
        systems.append(System("beam", recognizer))
    return systems


def measure(
    manifest: Path, systems: Sequence[System], effects_by_name: Mapping[str, Effect], seed: int
) -> Iterator[tuple[str, str, ErrorCounts]]:
    """Word errors of one model on every version of the audio.

    Args:
        manifest: What is recognised.
        systems: Ways of decoding the same model.
        effects_by_name: What is done to the audio.
        seed: With the id of the utterance, seeds what an effect draws.

    Yields:
        Name of the effect, name of the system, counts.

    Raises:
        DataError: Audio cannot be read: half a table is none.
    """
    utterances = read_manifest(manifest)
    recognizer = systems[0].recognizer
    rate, text_config = recognizer.sample_rate_hz, recognizer.config.text
    sources = [(one.id, one.audio_path, one.read_options(rate)) for one in utterances]
    heard: dict[tuple[str, str], dict[str, str]] = {
        (name, system.name): {} for name in effects_by_name for system in systems
    }
    total = len(sources) * len(effects_by_name)
    with progress_bar(f"recognising {manifest.name}", total) as advance:
        for group in read_groups(recognizer, sources):
            waveforms = {utterance_id: _readable(read) for utterance_id, read in group}
            for name, effect in effects_by_name.items():
                degraded = [
                    degrade(waveform, effect, f"{seed} {utterance_id}")
                    for utterance_id, waveform in waveforms.items()
                ]
                for system_name, hypotheses in _transcribe(degraded, systems):
                    heard[name, system_name] |= zip(waveforms, hypotheses, strict=True)
                for _ in degraded:
                    advance()
    references = {one.id: normalize(one.text, text_config) for one in utterances}
    for (name, system_name), texts in heard.items():
        normalized = {key: normalize(text, text_config) for key, text in texts.items()}
        yield name, system_name, score_texts(references, normalized).words


def _transcribe(
    waveforms: Sequence[Waveform], systems: Sequence[System]
) -> Iterator[tuple[str, list[str]]]:
    """Name of each system of one model, and its texts."""
    emissions = systems[0].recognizer.emissions_many(waveforms)
    for system in systems:
        yield system.name, [one.text for one in system.recognizer.decode(emissions)]


def _readable(read: Waveform | DataError) -> Waveform:
    if isinstance(read, DataError):
        raise read
    return read


def degrade(waveform: Waveform, effect: Effect, draw: str) -> Waveform:
    """The waveform after the effect, whose random numbers are those of the text `draw`."""
    seed = int.from_bytes(hashlib.blake2b(draw.encode(), digest_size=7).digest(), "big")
    generator = torch.Generator().manual_seed(seed)
    samples = torch.from_numpy(waveform.samples.copy())
    changed = effect(samples, waveform.sample_rate_hz, generator)
    return Waveform(changed.numpy(), waveform.sample_rate_hz)


def all_effects(noise: NoiseLibrary) -> dict[str, Effect]:
    """The rows of the table by name; see the module."""
    return {
        CLEAN: lambda samples, rate, generator: samples,
        **{f"noise, {snr_db:g} dB": noisy(noise, snr_db) for snr_db in (20.0, 10.0, 5.0)},
        "telephone, 8 kHz µ-law": lambda samples, rate, generator: effects.telephone(samples, rate),
        f"MP3, {MP3_KBITS} kbit/s": lambda samples, rate, generator: mp3(samples, rate),
        "far field, RT60 0.3 to 0.6 s": far_field,
        "level + 6 dB, clipped": louder(6.0),
        "level - 6 dB": louder(-6.0),
        "speed × 0.85": faster(0.85),
        "speed × 1.15": faster(1.15),
    }


def noisy(noise: NoiseLibrary, snr_db: float) -> Effect:
    """Adds an excerpt of noise, `snr_db` below the speech."""

    def effect(samples: Tensor, rate: int, generator: torch.Generator) -> Tensor:
        excerpt = noise.excerpt(len(samples), rate, generator)
        return effects.mix_noise(samples, excerpt, snr_db)

    return effect


def far_field(samples: Tensor, rate: int, generator: torch.Generator) -> Tensor:
    """Reverberates, at 0 dB of direct to reverberant sound."""
    rt60_samples = draw_uniform(generator, 0.3, 0.6) * rate
    tail = torch.randn(int(rt60_samples), generator=generator)
    return effects.convolve(samples, effects.room_response(tail, rt60_samples, 0.0))


def louder(gain_db: float) -> Effect:
    """Changes the level, and cuts off what goes beyond full scale."""
    return lambda samples, rate, generator: effects.apply_gain(samples, gain_db).clamp(-1, 1)


def faster(factor: float) -> Effect:
    """Changes pitch and tempo together."""
    return lambda samples, rate, generator: effects.change_speed(samples, factor)


def mp3(samples: Tensor, rate: int) -> Tensor:
    """To MP3 of `MP3_KBITS` at `MP3_RATE_HZ` and back, of the same length and without delay."""
    sent = resample(Waveform(samples.numpy(), rate), MP3_RATE_HZ).samples
    encoded = encode_mp3(sent)
    decoded, _ = soundfile.read(io.BytesIO(encoded), dtype="float32")
    heard = Waveform(_in_place(decoded, sent), MP3_RATE_HZ)
    return torch.from_numpy(resample(heard, rate).samples)[: len(samples)]


def encode_mp3(samples: np.ndarray) -> bytes:
    """MP3 file of (num_samples,) float32 at `MP3_RATE_HZ`."""
    least, greatest = RANGE_KBITS
    file = io.BytesIO()
    soundfile.write(
        file,
        samples,
        MP3_RATE_HZ,
        "MPEG_LAYER_III",
        format="MP3",
        compression_level=(greatest - MP3_KBITS) / (greatest - least),
        bitrate_mode="CONSTANT",
    )
    return file.getvalue()


def _in_place(decoded: np.ndarray, original: np.ndarray) -> np.ndarray:
    """`decoded` without the delay of the codec, which most decoders leave in; measured."""
    fft_size = 1 << (len(decoded) + len(original)).bit_length()
    correlation = np.fft.irfft(
        np.fft.rfft(decoded, fft_size) * np.conj(np.fft.rfft(original, fft_size))
    )
    delay = int(correlation[:MAX_DELAY_SAMPLES].argmax())
    placed = np.zeros_like(original)
    kept = decoded[delay : delay + len(original)]
    placed[: len(kept)] = kept
    return placed


def table(counts: Mapping[str, Mapping[str, ErrorCounts]]) -> str:
    """Markdown: a row for each condition, three columns for each system.

    Args:
        counts: Of each condition by the names of the systems; `CLEAN` is one of them.
    """
    clean = counts[CLEAN]
    heads = [f"{name}: errors | WER % | × clean" for name in clean]
    words = next(iter(clean.values())).num_references
    lines = [f"| {words} words | {' | '.join(heads)} |", "|---" * (1 + 3 * len(clean)) + "|"]
    for condition, row in counts.items():
        cells = [
            f"{count.num_errors} | {100 * count.rate:.2f} | {_ratio(count, clean[name])}"
            for name, count in row.items()
        ]
        lines.append(f"| {condition} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(count: ErrorCounts, clean: ErrorCounts) -> str:
    return f"{count.rate / clean.rate:.2f}" if clean.num_errors > 0 else "–"


def main() -> None:
    """The command line."""
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(takes_decoding_options(robustness))
    run_command(app)


if __name__ == "__main__":
    main()
