"""Time the beam search beside pyctcdecode and flashlight-text, all with the same 3-gram.

    python tools/bench_decoding.py [--hours 0.1] [--beams 10 50 100] [--repeats 3] [--peers DIR]
    python tools/bench_decoding.py --emissions FILE.npz --text FILE [...]

Every contestant runs in processes of its own, one thread each, in turns; the best processor time
of the repeats counts, loading and a warm-up apart. Each is tuned on the first fifth by the same
grid of language model weights and word bonuses. The peers live in a virtual environment of their
own (pyctcdecode needs NumPy 1), made when it is missing; pyctcdecode's kenlm needs a C++ compiler
and CMake there. A peer that cannot be imported is left out, and the output says so.

Without --emissions they are synthetic: sentences of a bigram chain over made-up words, spelled with
sharp peaks between blanks and some letters mistaken. A file of --emissions has `log_probs`
(num_frames, vocab_size) of all utterances in a row, `lengths`, `vocab` (blank first) and
`references`; the language model is then built from --text.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# pyctcdecode's and flashlight's names of the same two settings: alpha and beta, word_score.
GRID = [(weight, bonus) for weight in (0.3, 0.6, 1.0) for bonus in (0.0, 1.5)]
FRAME_S = 0.04
PEER_PACKAGES = ("numpy<2", "pyctcdecode", "kenlm", "flashlight-text")
CONTESTANTS = {
    "asr": "asr.decoding",
    "asr closed": "asr.decoding",
    "pyctcdecode": "pyctcdecode, kenlm",
    "flashlight-text": "flashlight.lib.text.decoder.kenlm",
}
Setting = tuple[float, float]
Decode = Callable[[np.ndarray], str]


def main() -> None:
    """Parse, then measure, or be one contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=0.1, help="of synthetic speech")
    parser.add_argument("--beams", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--emissions", type=Path)
    parser.add_argument("--text", type=Path, help="sentences for the language model")
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache/asr-bench-peers")
    parser.add_argument("--contestant", choices=list(CONTESTANTS), help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if (arguments.emissions is None) != (arguments.text is None):
        parser.error("--emissions and --text go together")
    if arguments.contestant:
        _compete(arguments.contestant, json.loads(arguments.job))
        return
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    with tempfile.TemporaryDirectory() as directory:
        _measure(arguments, Path(directory))


def _measure(arguments: argparse.Namespace, directory: Path) -> None:
    peers = _peers_python(arguments.peers)
    names = _available(peers)
    if arguments.emissions is None:
        _synthesise(directory, arguments.hours)
        emissions, text = directory / "emissions.npz", directory / "lm.txt"
    else:
        emissions, text = arguments.emissions, arguments.text
    _build_lm(text, directory / "lm.arpa")
    data = np.load(emissions)
    lengths, references = data["lengths"].tolist(), data["references"].tolist()
    hours = sum(lengths) * FRAME_S / 3600
    vocab_size = len(data["vocab"])
    print(f"{len(lengths)} utterances, {hours:.3f} h, {sum(lengths)} frames of {vocab_size} tokens")
    print(f"{'':16} {'beam':>5} {'s/hour':>8} {'WER %':>7} {'peak MB':>8}  weight, bonus")
    for beam in arguments.beams:
        job = {"emissions": str(emissions), "lm": str(directory / "lm.arpa"), "beam": beam}
        num_dev = max(1, len(lengths) // 5)
        chosen = {
            name: _tune(name, peers, {**job, "last": num_dev}, references[:num_dev])
            for name in names
        }
        results: dict[str, list[Any]] = {name: [] for name in names}
        for _ in range(arguments.repeats):
            for name, setting in chosen.items():
                results[name].append(_run(name, peers, {**job, "settings": [setting]}))
        for name, runs in results.items():
            seconds = min(run["seconds"][0] for run in runs) / hours
            rate = 100 * _word_error_rate(references, runs[0]["texts"][0])
            megabytes = max(run["peak_mb"] for run in runs)
            print(f"{name:16} {beam:5} {seconds:8.2f} {rate:7.2f} {megabytes:8.0f}  {chosen[name]}")


def _peers_python(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder} with {', '.join(PEER_PACKAGES)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        # One by one: what cannot be built here must not keep the others out.
        for package in PEER_PACKAGES:
            subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=False)
    return python


def _available(peers: Path) -> list[str]:
    """Contestants that can be imported; the others are named."""
    found = []
    for name, modules in CONTESTANTS.items():
        python = sys.executable if name.startswith("asr") else str(peers)
        command = [python, "-c", f"import {modules}"]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            found.append(name)
        else:
            print(f"{name}: not measured, {python} cannot import {modules}")
    return found


def _run(name: str, peers: Path, job: dict[str, Any]) -> dict[str, Any]:
    python = sys.executable if name.startswith("asr") else str(peers)
    command = [python, __file__, "--contestant", name, "--job", json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _tune(name: str, peers: Path, job: dict[str, Any], references: Sequence[str]) -> Setting:
    result = _run(name, peers, {**job, "settings": GRID})
    rates = [_word_error_rate(references, texts) for texts in result["texts"]]
    return GRID[int(np.argmin(rates))]


def _word_error_rate(references: Sequence[str], texts: Sequence[str]) -> float:
    from asr.wer import count_errors

    pairs = [(r.split(), t.split()) for r, t in zip(references, texts, strict=True)]
    counts = sum((count_errors(*pair) for pair in pairs[1:]), count_errors(*pairs[0]))
    return counts.rate


def _build_lm(text: Path, path: Path) -> None:
    from asr.lm.files import write_model
    from asr.lm.kneser_ney import BuildOptions, build_model

    write_model(build_model([text], BuildOptions(order=3)).model, path)


def _synthesise(directory: Path, hours: float) -> None:
    """Write `lm.txt` and `emissions.npz`: 25 frames a second, 1.8 to a character."""
    rng = np.random.default_rng(0)
    vocab = ["<blank>", " ", "'", *"abcdefghijklmnopqrstuvwxyz"]
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er")]
    words = sorted({"".join(rng.choice(syllables, n)) for n in rng.integers(1, 4, 3000)})
    followers = rng.integers(0, len(words), (len(words), 12))

    def sentence() -> str:
        word, said = int(rng.integers(len(words))), []
        for _ in range(rng.integers(3, 15)):
            said.append(words[word])
            word = int(followers[word, min(11, rng.geometric(0.3) - 1)])
        return " ".join(said)

    (directory / "lm.txt").write_text("".join(f"{sentence()}\n" for _ in range(20_000)))
    references, emissions = [], []
    while sum(map(len, emissions)) * FRAME_S < hours * 3600:
        references.append(sentence())
        emissions.append(_spoken([vocab.index(c) for c in references[-1]], len(vocab), rng))
    np.savez(
        directory / "emissions.npz",
        log_probs=np.concatenate(emissions),
        lengths=[len(one) for one in emissions],
        vocab=vocab,
        references=references,
    )


def _spoken(tokens: Sequence[int], vocab_size: int, rng: np.random.Generator) -> np.ndarray:
    """Log-probabilities in which every token peaks once, and every seventh or so is doubtful."""
    path = [0]
    for token in tokens:
        path += [token] + [0] * max(int(token == path[-1]), int(rng.geometric(0.55)) - 1)
    logits = rng.normal(-11.0, 1.5, (len(path), vocab_size))
    logits[np.arange(len(path)), path] = rng.normal(0.0, 0.8, len(path))
    doubtful = np.flatnonzero((np.array(path) > 0) & (rng.random(len(path)) < 0.15))
    others = rng.integers(0, vocab_size, len(doubtful))
    logits[doubtful, others] = logits[doubtful, np.array(path)[doubtful]] + rng.normal(
        0.0, 1.5, len(doubtful)
    )
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def _compete(name: str, job: dict[str, Any]) -> None:
    """Decode with each setting; print texts, seconds and the peak of memory as JSON."""
    data = np.load(job["emissions"])
    ends = np.cumsum(data["lengths"])[: job.get("last")]
    emissions = np.split(data["log_probs"][: ends[-1]], ends[:-1])
    maker = {
        "asr": _asr,
        "asr closed": _asr,
        "pyctcdecode": _pyctcdecode,
        "flashlight-text": _flashlight,
    }[name]
    texts, seconds = [], []
    for setting in job["settings"]:
        closed = name in ("asr closed", "flashlight-text")
        decode = maker(data["vocab"].tolist(), job["lm"], job["beam"], setting, closed)
        decode(emissions[0])
        start = time.process_time()
        texts.append([decode(one) for one in emissions])
        seconds.append(time.process_time() - start)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"texts": texts, "seconds": seconds, "peak_mb": peak_mb}))


def _asr(vocab: list[str], lm: str, beam: int, setting: Setting, closed: bool) -> Decode:
    from asr.decoding import BeamConfig, BeamDecoder, Knowledge
    from asr.lm.files import read_model
    from asr.tokens import tokenizer_from_dict

    kind = "bpe" if any(len(token) > 1 for token in vocab[1:]) else "char"
    config = BeamConfig(
        beam_width=beam,
        lm_weight=setting[0],
        word_bonus=setting[1],
        vocabulary="closed" if closed else "open",
    )
    tokenizer = tokenizer_from_dict({"kind": kind, "vocab": vocab})
    decoder = BeamDecoder(tokenizer, FRAME_S, config, Knowledge(read_model(Path(lm))))
    return lambda log_probs: decoder.decode(log_probs)[0].text


def _pyctcdecode(vocab: list[str], lm: str, beam: int, setting: Setting, closed: bool) -> Decode:
    from pyctcdecode import build_ctcdecoder

    decoder = build_ctcdecoder(["", *vocab[1:]], lm, _words(lm), *setting)
    return lambda log_probs: decoder.decode(log_probs, beam_width=beam)


def _flashlight(vocab: list[str], lm: str, beam: int, setting: Setting, closed: bool) -> Decode:
    from flashlight.lib.text import decoder as fl
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    words = Dictionary([*_words(lm), "<unk>"])
    model = KenLM(lm, words)
    space = vocab.index(" ")
    trie = fl.Trie(len(vocab), space)
    start = model.start(False)
    for word in _words(lm):
        index = words.get_index(word)
        _, score = model.score(start, index)
        trie.insert([*(vocab.index(character) for character in word), space], index, score)
    trie.smear(fl.SmearingMode.MAX)
    inner = fl.LexiconDecoder(
        fl.LexiconDecoderOptions(
            beam, len(vocab), 25.0, *setting, -np.inf, 0.0, True, fl.CriterionType.CTC
        ),
        trie,
        model,
        space,
        0,
        words.get_index("<unk>"),
        [],
        False,
    )
    # It loses a last word that no space ends.
    ending = np.full((1, len(vocab)), -30.0, np.float32)
    ending[0, space] = 0.0

    def decode(log_probs: np.ndarray) -> str:
        padded = np.concatenate([log_probs, ending])
        best = inner.decode(padded.ctypes.data, *padded.shape)[0]
        return " ".join(words.get_entry(index) for index in best.words if index >= 0)

    return decode


def _words(arpa: str) -> list[str]:
    """Words of an ARPA file, without its marks."""
    with Path(arpa).open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("\\1-grams:"):
                break
        found = []
        for line in lines:
            if not line.strip():
                break
            found.append(line.split("\t")[1].strip())
    return [word for word in found if not word.startswith("<")]


if __name__ == "__main__":
    main()
