"""Word errors and speed of pocketsphinx, with its own English model, on a manifest.

    python tools/bench_pocketsphinx.py MANIFEST [--num N] [--profile letters] [--peers DIR]
    python tools/bench_pocketsphinx.py MANIFEST [--num N] --model MODEL [--lm FILE] [...]

Recognises the first N utterances (all by default), one after the other, with one thread. The peer
is the wheel `pocketsphinx` with its model, language model, dictionary and settings as they come; it
lives in a virtual environment of its own, made when it is missing. With --model that recogniser
hears the same samples, decoding as its file says or as the options of `asr evaluate` ask.

Texts of the manifest and of the recognisers are normalised alike: as the model's transcripts are,
or by --profile without a model. Marks of pronunciation, as in `the(2)`, are dropped before.

Columns: word errors with counts, the 95 % interval of their rate, and the real-time factor:
processor time of recognising, reading files and loading models apart, over the length of the audio.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from peers import python_with

from asr.audio import Waveform, read_audio
from asr.cli import run_command
from asr.cli.decoding_options import DecodingOptions, takes_decoding_options
from asr.errors import DataError
from asr.evaluation import score_texts
from asr.manifest import read_manifest
from asr.progress import progress_bar
from asr.shipped import resolve_model
from asr.text import TextConfig, normalize

PEER_FOLDER = Path.home() / ".cache/asr-bench-pocketsphinx"
PEER_PACKAGES = ("pocketsphinx",)
PEER_RATE_HZ = 16000
PRONUNCIATION = re.compile(r"\(\d+\)")
WORKER = Path(__file__).with_name("bench_pocketsphinx_worker.py")


@dataclass(frozen=True)
class Heard:
    """What was recognised of one utterance, and the processor time that took."""

    text: str
    seconds: float


def bench(
    manifest: Annotated[Path, typer.Argument(help="JSONL manifest with references.")],
    num: Annotated[int | None, typer.Option(help="Utterances, from the first.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model file measured beside it.")] = None,
    profile: Annotated[str, typer.Option(help="Of the texts, without --model.")] = "letters",
    peers: Annotated[Path, typer.Option(help="Virtual environment of the peer.")] = PEER_FOLDER,
    decoding: DecodingOptions = DecodingOptions(),  # noqa: B008 - immutable
) -> None:
    """Word errors and speed of pocketsphinx, with its own English model, on a manifest."""
    utterances = read_manifest(manifest)[:num]
    waveforms = [read_audio(one.audio_path, one.read_options(PEER_RATE_HZ)) for one in utterances]
    audio_s = sum(waveform.duration_s for waveform in waveforms)
    text_config = TextConfig(profile=profile)
    results: dict[str, list[Heard]] = {}
    if model is not None:
        text_config, results[f"asr {model.stem}"] = _hear_ours(waveforms, model, decoding)
    results["pocketsphinx"] = _hear_peer(waveforms, python_with(peers, PEER_PACKAGES))
    typer.echo(f"{len(utterances)} utterances, {audio_s:.0f} s; text: {text_config.profile}")
    references = {one.id: normalize(one.text, text_config) for one in utterances}
    for name, heard in results.items():
        texts = (normalize(PRONUNCIATION.sub("", one.text), text_config) for one in heard)
        seconds = sum(one.seconds for one in heard)
        rates = _rates(references, dict(zip(references, texts, strict=True)))
        typer.echo(f"{name:14} {rates}, real-time factor {seconds / audio_s:.4f}")


def _rates(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> str:
    report = score_texts(references, hypotheses)
    interval = report.bootstrap_interval()
    sure = (
        "" if interval is None else " [ {:.1f}, {:.1f} ]".format(*(100 * end for end in interval))
    )
    return f"{report.kaldi_line()}{sure}"


def _hear_ours(
    waveforms: Sequence[Waveform], model: Path, decoding: DecodingOptions
) -> tuple[TextConfig, list[Heard]]:
    """How the model writes, and what it heard of each."""
    from asr.recognizer import Recognizer  # only here: it loads torch
    from asr.threads import cpu_threads

    recognizer = Recognizer.load(resolve_model(model), "cpu", decoding.choice())
    heard = []
    with cpu_threads(1), progress_bar(model.stem, len(waveforms)) as advance:
        recognizer.transcribe(waveforms[0])  # compiles, or loads what is compiled
        for waveform in waveforms:
            start = time.process_time()
            text = recognizer.transcribe(waveform).text
            heard.append(Heard(text, time.process_time() - start))
            advance()
    return recognizer.config.text, heard


def _hear_peer(waveforms: Sequence[Waveform], python: Path) -> list[Heard]:
    """What pocketsphinx heard of each.

    Raises:
        DataError: It cannot be run.
    """
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"{index}.raw" for index in range(len(waveforms))]
        for path, waveform in zip(paths, waveforms, strict=True):
            levels = np.clip(np.rint(waveform.samples * 32768), -32768, 32767)
            path.write_bytes(levels.astype(np.int16).tobytes())
        with progress_bar("pocketsphinx", len(paths)) as advance:
            heard = []
            for line in _lines([str(python), str(WORKER), directory, str(len(paths))]):
                heard.append(Heard(**json.loads(line)))
                advance()
    return heard


def _lines(command: Sequence[str]) -> Iterator[str]:
    """Lines of standard output as they come."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        if process.stdout is not None:
            yield from process.stdout
    if process.returncode != 0:
        raise DataError(f"{' '.join(command[:2])} ended with status {process.returncode}")


def main() -> None:
    """The command line."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(takes_decoding_options(bench))
    run_command(app)


if __name__ == "__main__":
    main()
