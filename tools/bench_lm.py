"""Time language models: building, loading, and queries beside the `kenlm` Python module.

    python tools/bench_lm.py TEXT [--order 4] [--sentences 20000] [--repeats 5] [--keep DIR]

The peer lives in a virtual environment of its own, made when missing; both sides read the ARPA file
that this tool builds from TEXT, score the same sentences of it, and as many of random words, in
their own processes, in turns, and must agree. The best of the repeats counts. Times are of the
processor: one core, whatever else the machine does. The builder runs once before, in a process of
its own, and with nothing compiled: what that takes is printed, and not counted as building.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

CACHE = Path.home() / ".cache" / "asr-bench" / "kenlm"
LN_10 = 2.302585092994046
# What the scores of one word may differ by, in log10.
TOLERANCE = 1e-4

BUILD = """
import json, resource, sys, time
from pathlib import Path
text, out, order = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.files import write_model
start = time.process_time()
built = build_model([text], BuildOptions(order=order))
built_s = time.process_time() - start
write_model(built.model, out / "lm.arpa")
arpa_s = time.process_time() - start - built_s
write_model(built.model, out / "lm.bin")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"all_s": time.process_time(), "build_s": built_s, "arpa_s": arpa_s,
                  "peak_mb": peak, "ngrams": built.model.num_ngrams}))
"""

OURS = """
import json, sys, time
import numpy as np
from pathlib import Path
from asr.lm.files import read_model
from asr.lm.ngram import SENTENCE_BREAK
from asr.lm.word_index import encode_text
out, lines = Path(sys.argv[1]), Path(sys.argv[2]).read_text().splitlines()
warm = read_model(out / "lm.bin")
warm.text_log_prob("warm up"), warm.score(0, 1), warm.score_ids(np.array([1, 2]))
start = time.process_time()
model = read_model(out / "lm.bin")
load_s = time.process_time() - start
model.id_of("a"), model.text_log_prob(""), model.score(0, 1)
ready_s = time.process_time() - start
start = time.process_time()
scores = [model.text_log_prob(line) for line in lines]
loop_s = time.process_time() - start
start = time.process_time()
for line in lines:
    state = model.start_state
    for word in line.split():
        _, state = model.score(state, model.id_of(word))
    model.finish(state)
word_s = time.process_time() - start
text = np.frombuffer(("\\n".join(lines) + "\\n").encode(), np.uint8)
encode_text(model.word_index, text[:9], model.eos_id, SENTENCE_BREAK)
start = time.process_time()
ids = encode_text(model.word_index, text, model.eos_id, SENTENCE_BREAK)
encode_s = time.process_time() - start
start = time.process_time()
bulk = float(model.score_ids(ids).sum())
bulk_s = time.process_time() - start
assert abs(bulk - sum(scores)) < 1e-6 * abs(bulk)
print(json.dumps({"load_s": load_s, "ready_s": ready_s, "loop_s": loop_s, "word_s": word_s,
                  "encode_s": encode_s, "bulk_s": bulk_s, "scores": scores}))
"""

PEER = """
import json, sys, time
import kenlm
start = time.process_time()
model = kenlm.Model(sys.argv[1] + "/lm.arpa")
load_s = time.process_time() - start
lines = open(sys.argv[2]).read().splitlines()
model.score("warm up")
start = time.process_time()
scores = [model.score(line) for line in lines]
loop_s = time.process_time() - start
start = time.process_time()
for line in lines:
    state, after = kenlm.State(), kenlm.State()
    model.BeginSentenceWrite(state)
    for word in line.split():
        model.BaseScore(state, word, after)
        state, after = after, state
    model.BaseScore(state, "</s>", after)
word_s = time.process_time() - start
# Its sums are of float32: add up the words' own in float64.
scores = [sum(found[0] for found in model.full_scores(line)) for line in lines]
print(json.dumps({"load_s": load_s, "loop_s": loop_s, "word_s": word_s, "scores": scores}))
"""


def main() -> None:
    """Parse, build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="one sentence a line")
    parser.add_argument("--order", type=int, default=4)
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="directory for the models; reused when filled")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / "lm.bin").exists():
            print_building(arguments.text, directory, arguments.order)
        print_queries(arguments, directory)


def print_building(text: Path, directory: Path, order: int) -> None:
    """Build once to compile, and once to measure."""
    small = directory / "small.txt"
    small.write_text("to be or not to be\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as cache:
        first = run(sys.executable, BUILD, small, directory, order, NUMBA_CACHE_DIR=cache)
    print(f"first build after installation, of one sentence: {first['all_s']:.1f} s of compiling")
    run(sys.executable, BUILD, small, directory, order)
    found = run(sys.executable, BUILD, text, directory, order)
    print(f"n-grams {found['ngrams']}")
    print(
        f"build {found['build_s']:.2f} s, write ARPA {found['arpa_s']:.2f} s, "
        f"peak {found['peak_mb']:.0f} MB"
    )


def print_queries(arguments: argparse.Namespace, directory: Path) -> None:
    """Both sides in turns."""
    lines = arguments.text.read_text(encoding="utf-8").splitlines()
    chosen = [line for line in lines if line.split()][: arguments.sentences]
    words = [word for line in chosen for word in line.split()]
    random.Random(0).shuffle(words)
    shuffled = iter([*words, *["unheard"] * len(chosen)])
    mixed = [" ".join(next(shuffled) for _ in line.split()) for line in chosen]
    for name, sentences in (("sentences of the text", chosen), ("random sentences", mixed)):
        compare(name, sentences, directory, arguments.repeats)


def compare(name: str, lines: list[str], directory: Path, repeats: int) -> None:
    """Both sides in turns over the same sentences; prints a table."""
    sentences = directory / "sentences.txt"
    sentences.write_text("\n".join(lines), encoding="utf-8")
    peer_python = peer()
    ours, peers = [], []
    for _ in range(repeats):
        ours.append(run(sys.executable, OURS, directory, sentences))
        peers.append(run(peer_python, PEER, directory, sentences))
    num_words = [len(line.split()) + 1 for line in lines]
    pairs = zip(ours[0]["scores"], peers[0]["scores"], num_words, strict=True)
    far = max(abs(mine / LN_10 - theirs) / number for mine, theirs, number in pairs)
    if far > TOLERANCE:
        raise SystemExit(f"log10 of a word differs from kenlm's by {far:.1e}")
    print(f"{name}: {len(lines)}, {sum(num_words)} queries; log10 a word differs by {far:.0e}")
    rows = (
        ("a sentence a call", "loop_s", "loop_s"),
        ("a word a call", "word_s", "word_s"),
        ("ids of a text in bulk", "encode_s", None),
        ("scores in bulk, ids given", "bulk_s", "loop_s"),
    )
    for row, key, peer_key in rows:
        ns = best(ours, key) / sum(num_words) * 1e9
        line = f"  {row:<26} asr {ns:6.0f} ns a query"
        if peer_key is not None:
            theirs = best(peers, peer_key) / sum(num_words) * 1e9
            line += f", kenlm {theirs:6.0f}: {theirs / ns:5.2f} times as fast"
        print(line)
    print(
        f"  loading: asr's binary {1000 * best(ours, 'load_s'):.0f} ms, "
        f"and all it needs for a first answer {1000 * best(ours, 'ready_s'):.0f} ms, "
        f"ARPA by kenlm {best(peers, 'load_s'):.2f} s"
    )


def best(results: list[dict[str, Any]], key: str) -> float:
    """The smallest of the repeats."""
    return float(min(result[key] for result in results))


def run(python: str | Path, script: str, *arguments: object, **environment: str) -> dict[str, Any]:
    """What a script prints as JSON, in a process of its own, with changes to its environment."""
    command = [str(python), "-c", script, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def peer() -> Path:
    """Python of the environment that has `kenlm`; made when missing."""
    python = CACHE / "bin" / "python"
    if not python.exists():
        venv.create(CACHE, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "kenlm"], check=True)
    return python


if __name__ == "__main__":
    main()
