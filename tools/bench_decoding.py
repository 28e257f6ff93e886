"""Time the beam search beside pyctcdecode and flashlight-text, all with the same 3-gram.

    python tools/bench_decoding.py [--hours 0.1] [--tokens bpe --vocab-size 500] [--peers DIR] [...]
    python tools/bench_decoding.py --model MODEL --development DEV.jsonl --test TEST.jsonl --text T
    python tools/bench_decoding.py [...] --long HOURS      (one utterance of at least so many hours)
    python tools/bench_decoding.py [...] --flat            (one hour of an untrained model)

Emissions: a model file and two manifests give real ones, and --text, normalised like the model's
transcripts, the language model. Without a model they are synthetic: sentences of a bigram chain
over made-up words, spelled in characters or byte pairs with sharp peaks between blanks, some
tokens mistaken; test and development parts come from different seeds, the latter half as long.

Contestants: this package with an open and with a closed vocabulary, pyctcdecode (open, words of
the text known, KenLM), and flashlight's lexicon decoder (closed, KenLM). Each runs in processes of
its own with one thread, in turns. The peers live in a virtual environment of their own
(pyctcdecode needs NumPy 1), made when it is missing; pyctcdecode's kenlm needs a C++ compiler and
CMake there. A peer that cannot be imported is left out, and the output says so.

Tuning: at every beam each contestant takes, on the development part, what makes the fewest
errors of the same language model weights (of natural logarithms) and word bonuses and of its own
pruning presets; among equals the tightest pruning. A `*` marks a weight or bonus at the edge of
the grid. The test part chooses nothing. With --flat nothing is tuned: there is nothing to
recognise.

Columns: processor seconds for an hour of speech, best of the repeats, loading and a warm-up apart;
times as slow as this package with the same kind of vocabulary; word errors; peak of memory in MB,
and how much decoding added to what loading and the warm-up left; the settings chosen. A run that
takes over --limit seconds of processor time, or too much memory, is stopped and shown as `> limit`
or `crash`. Before the table stand what a first call costs more than a second, with an empty and
with a filled cache of compiled code, imports apart, and the wall time of one and of two threads
for the utterances of the development part, repeated for an hour.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from peers import python_with

from asr.audio import read_audio
from asr.lm.files import write_model
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.manifest import read_manifest
from asr.text import normalize
from asr.tokens import Tokenizer, TokensConfig, build_tokenizer
from asr.wer import count_errors

WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.5)
BONUSES = (0.0, 1.0, 2.0, 3.0, 4.0)
FRAME_S = 0.04
DOUBT, NUM_RIVALS = 0.35, 5  # share of synthetic tokens that have rivals, and how many
CONTESTANT = Path(__file__).with_name("bench_decoding_contestant.py")
EMPTY_FRAME = -20.0  # log-probability of what does not stand in a frame made by hand
PEER_PACKAGES = ("numpy<2", "pyctcdecode", "kenlm", "flashlight-text")
Setting = tuple[float, ...]
Job = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """Who competes.

    Attributes:
        modules: What its process must be able to import.
        yardstick: Our contestant with the same kind of vocabulary.
        presets: Its pruning, the tightest first.
        default: The preset of --flat.
    """

    modules: str
    yardstick: str
    presets: tuple[Setting, ...]
    default: Setting

    @property
    def is_ours(self) -> bool:
        """Whether it runs in this environment."""
        return self.modules.startswith("asr")


# (beam_threshold, token_threshold), (beam_prune_logp, token_min_logp), and of flashlight
# (beam_threshold, beam_size_token)
_OURS = ((5.0, 4.0), (8.0, 5.0), (10.0, 6.0), (12.0, 7.0), (16.0, 10.0))
_ALL = math.inf
CONTESTANTS = {
    "asr open": Contestant("asr.decoding", "asr open", _OURS, (12.0, 7.0)),
    "asr closed": Contestant("asr.decoding", "asr closed", _OURS, (12.0, 7.0)),
    "pyctcdecode": Contestant(
        "pyctcdecode, kenlm",
        "asr open",
        ((-5.0, -4.0), (-7.5, -4.0), (-10.0, -5.0), (-15.0, -7.0)),
        (-10.0, -5.0),
    ),
    "flashlight": Contestant(
        "flashlight.lib.text.decoder.kenlm",
        "asr closed",
        ((5.0, 5.0), (7.5, 8.0), (10.0, 10.0), (10.0, _ALL), (25.0, _ALL), (50.0, _ALL)),
        (50.0, _ALL),
    ),
}


@dataclass(frozen=True)
class Speech:
    """Emissions (num_frames, vocab_size) and reference of each utterance."""

    emissions: list[np.ndarray]
    references: list[str]

    @property
    def num_frames(self) -> int:
        """Of all utterances."""
        return sum(map(len, self.emissions))

    def save(self, path: Path) -> None:
        """Write the emissions for the contestants; references stay here."""
        lengths = [len(one) for one in self.emissions]
        np.savez(path, log_probs=np.concatenate(self.emissions), lengths=lengths)


@dataclass(frozen=True)
class Material:
    """What is measured: the same for every contestant."""

    tokenizer: Tokenizer
    frame_s: float
    development: Speech
    test: Speech
    sentences: list[str]


def main() -> None:
    """Parse, make what is decoded, and measure."""
    parser = _parser()
    arguments = parser.parse_args()
    real = [arguments.model, arguments.development, arguments.test, arguments.text]
    if any(real) and not all(real):
        parser.error("--model, --development, --test and --text go together")
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    material = _recognise(arguments) if arguments.model else _synthesise(arguments)
    if arguments.long:
        material = _joined(material, arguments.long)
    if arguments.flat:
        material = _flattened(material)
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), material, arguments)
        bench.print_start()
        bench.print_table()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="model file whose emissions are decoded")
    parser.add_argument("--development", type=Path, help="manifest to tune on")
    parser.add_argument("--test", type=Path, help="manifest to measure on")
    parser.add_argument("--text", type=Path, help="sentences for the language model")
    parser.add_argument("--tokens", choices=["char", "bpe"], default="char", help="of synthesis")
    parser.add_argument("--vocab-size", type=int, default=500, help="of --tokens bpe")
    parser.add_argument("--hours", type=float, default=0.1, help="of synthetic speech")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--long", type=float, metavar="HOURS", help="all in one utterance")
    kind.add_argument("--flat", action="store_true", help="one hour that says nothing")
    parser.add_argument("--beams", type=int, nargs="+", default=[10, 50, 100, 500])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, default=600, help="processor seconds of one run")
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache/asr-bench-peers")
    return parser


class Bench:
    """Runs contestants on files in `directory` and prints what comes of it."""

    def __init__(self, directory: Path, material: Material, arguments: argparse.Namespace) -> None:
        self.directory, self.material, self.arguments = directory, material, arguments
        self.peers = python_with(arguments.peers, PEER_PACKAGES)
        self.names = [name for name in CONTESTANTS if self._is_available(name)]
        material.development.save(directory / "development.npz")
        material.test.save(directory / "test.npz")
        _build_lm(material.sentences, directory)
        words = sorted({word for sentence in material.sentences for word in sentence.split()})
        encode, vocab = material.tokenizer.encode, material.tokenizer.vocab
        setup = {
            "tokenizer": material.tokenizer.to_dict(),
            "vocab": vocab,
            "space": vocab.index(" ") if " " in vocab else None,
            "frame_s": material.frame_s,
            "lm": str(directory / "lm.arpa"),
            "spellings": {word: encode(word) for word in words},
        }
        (directory / "setup.json").write_text(json.dumps(setup))

    @property
    def hours(self) -> float:
        """Of the test part."""
        return self.material.test.num_frames * self.material.frame_s / 3600

    def print_start(self) -> None:
        """Sizes, first calls and two threads."""
        test, development = self.material.test, self.material.development
        print(
            f"{len(test.emissions)} utterances, {self.hours:.3f} h, {test.num_frames} frames of "
            f"{len(self.material.tokenizer.vocab)} tokens; tuned on {development.num_frames} frames"
        )
        job: Job = {"settings": [(0.5, 1.0, *_OURS[1])], "part": "development", "limit": None}
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"NUMBA_CACHE_DIR": cache}
            task = {**job, "task": "first"}
            first, again = [self._run("asr open", task, environment)["seconds"] for _ in range(2)]
        print(f"first call: {first:.2f} s of compiling; {again:.2f} s in the next process")
        if not self.arguments.flat:
            one, two = self._run("asr open", {**job, "task": "threads"})["seconds"]
            print(f"threads: one {one:.2f} s, two {two:.2f} s of wall time, {one / two:.2f} ×")

    def print_table(self) -> None:
        """A row for each contestant and beam, all contestants of a beam measured in turns."""
        columns = (
            f"{'s/hour':>9} {'× ours':>7} {'WER %':>7} {'errors':>12} {'peak':>6} {'added':>6}"
        )
        print(f"{'':11} {'beam':>4} {columns}  weight, bonus, pruning")
        for beam in self.arguments.beams:
            chosen = {name: self._tune(name, beam) for name in self.names}
            runs: dict[str, list[Job]] = {name: [] for name in self.names}
            for _ in range(self.arguments.repeats):
                for name, setting in chosen.items():
                    if not any("stopped" in run for run in runs[name]):
                        job = {"beam": beam, "settings": [setting]}
                        runs[name].append(self._run(name, job))
            for name in self.names:
                ours = _seconds(runs[CONTESTANTS[name].yardstick])
                print(f"{name:11} {beam:4} {self._row(runs[name], ours)}  {_shown(chosen[name])}")
            sys.stdout.flush()

    def _row(self, runs: Sequence[Job], ours: float | None) -> str:
        seconds = _seconds(runs)
        if seconds is None:
            return f"{runs[-1]['stopped']:>52}"
        ratio = f"{seconds / ours:7.2f}" if ours else f"{'':7}"
        errors, words = _errors(self.material.test.references, runs[0]["texts"][0])
        rate = f"{100 * errors / words:7.2f} {f'{errors}/{words}':>12}" if words else f"{'':20}"
        peak, added = (max(run[key] for run in runs) for key in ("peak_mb", "added_mb"))
        return f"{seconds / self.hours:9.2f} {ratio} {rate} {peak:6.0f} {added:6.0f}"

    def _tune(self, name: str, beam: int) -> Setting:
        contestant = CONTESTANTS[name]
        if self.arguments.flat:
            return (0.5, 1.0, *contestant.default)
        settings = [
            (weight, bonus, *preset)
            for preset, weight, bonus in product(contestant.presets, WEIGHTS, BONUSES)
        ]
        job = {"part": "development", "beam": beam, "settings": settings, "limit": None}
        references = self.material.development.references
        errors = [_errors(references, texts)[0] for texts in self._run(name, job)["texts"]]
        return settings[int(np.argmin(errors))]

    def _is_available(self, name: str) -> bool:
        modules = CONTESTANTS[name].modules
        python = self._python(name)
        command = [python, "-c", f"import {modules}"]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return True
        print(f"{name}: not measured, {python} cannot import {modules}")
        return False

    def _python(self, name: str) -> str:
        return sys.executable if CONTESTANTS[name].is_ours else str(self.peers)

    def _run(self, name: str, job: Job, environment: dict[str, str] | None = None) -> Job:
        """What the contestant reports, or why it was `stopped`."""
        limit = self.arguments.limit
        start = {"task": "decode", "part": "test", "beam": 100, "limit": limit}
        text = json.dumps({**start, "directory": str(self.directory), **job})
        command = [self._python(name), str(CONTESTANT), name, text]
        done = subprocess.run(command, check=False, capture_output=True, env=environment)
        if done.returncode == -signal.SIGXCPU:
            return {"stopped": f"> {limit} s"}
        if done.returncode != 0 and "limit" not in job:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            return {"stopped": f"crash: {' '.join(last)[:40] or done.returncode}"}
        if done.returncode != 0:
            raise SystemExit(done.stderr.decode(errors="replace"))
        result: Job = json.loads(done.stdout.splitlines()[-1])
        return result


def _seconds(runs: Sequence[Job]) -> float | None:
    """Best of the runs; None if one was stopped."""
    if not runs or any("stopped" in run for run in runs):
        return None
    return min(float(run["seconds"][0]) for run in runs)


def _shown(setting: Setting) -> str:
    weight, bonus, *pruning = setting
    parts = []
    for value, grid in ((weight, WEIGHTS), (bonus, BONUSES)):
        parts.append(f"{value:g}{'*' if value in (grid[0], grid[-1]) else ''}")
    return ", ".join([*parts, "/".join(f"{value:g}" for value in pruning)])


def _errors(references: Sequence[str], texts: Sequence[str]) -> tuple[int, int]:
    """Word errors, and words of the references."""
    counts = [count_errors(r.split(), t.split()) for r, t in zip(references, texts, strict=True)]
    return sum(one.num_errors for one in counts), sum(one.num_references for one in counts)


def _build_lm(sentences: Iterable[str], directory: Path) -> None:
    text = directory / "lm.txt"
    text.write_text("".join(f"{sentence}\n" for sentence in sentences), encoding="utf-8")
    write_model(build_model([text], BuildOptions(order=3)).model, directory / "lm.arpa")


# Material


def _recognise(arguments: argparse.Namespace) -> Material:
    """Emissions of a model for two manifests."""
    from asr.recognizer import Recognizer  # only here: it loads torch

    recognizer = Recognizer.load(arguments.model, "cpu")
    text_config = recognizer.config.text

    def speech(manifest: Path) -> Speech:
        emissions, references = [], []
        for utterance in read_manifest(manifest):
            options = utterance.read_options(recognizer.sample_rate_hz)
            emissions += recognizer.emissions([read_audio(utterance.audio_path, options)])
            references.append(normalize(utterance.text, text_config))
        return Speech(emissions, references)

    return Material(
        tokenizer=recognizer.tokenizer,
        frame_s=recognizer.frame_s,
        development=speech(arguments.development),
        test=speech(arguments.test),
        sentences=[
            normalize(line, text_config)
            for line in arguments.text.read_text(encoding="utf-8").splitlines()
        ],
    )


def _synthesise(arguments: argparse.Namespace) -> Material:
    """25 frames a second, 1.8 to a character."""
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er")]
    words = sorted({"".join(rng.choice(syllables, n)) for n in rng.integers(1, 4, 3000)})
    followers = rng.integers(0, len(words), (len(words), 12))

    def sentence(rng: np.random.Generator) -> str:
        word, said = int(rng.integers(len(words))), []
        for _ in range(rng.integers(3, 15)):
            said.append(words[word])
            word = int(followers[word, min(11, rng.geometric(0.3) - 1)])
        return " ".join(said)

    sentences = [sentence(rng) for _ in range(20_000)]
    if arguments.tokens == "bpe":
        config = TokensConfig(kind="bpe", vocab_size=arguments.vocab_size)
        tokenizer = build_tokenizer(config, sentences)
    else:
        tokenizer = build_tokenizer(TokensConfig(), ["abcdefghijklmnopqrstuvwxyz '"])

    def speech(hours: float, seed: int) -> Speech:
        rng = np.random.default_rng(seed)
        emissions: list[np.ndarray] = []
        references = []
        while sum(map(len, emissions)) * FRAME_S < hours * 3600:
            references.append(sentence(rng))
            tokens = tokenizer.encode(references[-1])
            emissions.append(_spoken(tokens, tokenizer.vocab, rng))
        return Speech(emissions, references)

    development, test = speech(arguments.hours / 2, 1), speech(arguments.hours, 2)
    return Material(tokenizer, FRAME_S, development, test, sentences)


def _spoken(tokens: Sequence[int], vocab: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Log-probabilities: every token peaks once; some have rivals, the blank among them."""
    path = [0]
    for token in tokens:
        num_blanks = int(rng.geometric(0.55, len(vocab[token])).sum()) - 1
        path += [token] + [0] * max(int(token == path[-1]), num_blanks)
    logits = rng.normal(-11.0, 1.5, (len(path), len(vocab)))
    logits[np.arange(len(path)), path] = rng.normal(0.0, 0.8, len(path))
    for frame in np.flatnonzero((np.array(path) > 0) & (rng.random(len(path)) < DOUBT)):
        rivals = np.append(rng.integers(0, len(vocab), NUM_RIVALS), 0)
        logits[frame, rivals] = logits[frame, path[frame]] + rng.normal(-1.0, 1.5, len(rivals))
    return _normalised(logits)


def _normalised(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.asarray(shifted - log_sum, np.float32)


def _joined(material: Material, hours: float) -> Material:
    """The test part over and over as one utterance, a frame between: a space, or else a blank."""
    test, vocab = material.test, material.tokenizer.vocab
    between = np.full((1, len(vocab)), EMPTY_FRAME)
    between[0, vocab.index(" ") if " " in vocab else 0] = 0.0
    once = [part for one in test.emissions for part in (one, _normalised(between))]
    count = int(np.ceil(hours * 3600 / material.frame_s / sum(map(len, once))))
    joined = Speech([np.concatenate(once * count)], [" ".join(test.references * count)])
    return replace(material, test=joined)


def _flattened(material: Material) -> Material:
    """One hour in which every token is about as probable as any other."""
    num_frames = int(3600 / material.frame_s)
    noise = np.random.default_rng(3).normal(0.0, 0.1, (num_frames, len(material.tokenizer.vocab)))
    return replace(material, test=Speech([_normalised(noise)], [""]))


if __name__ == "__main__":
    main()
