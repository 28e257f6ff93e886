"""Time language models: building, loading, and queries beside the `kenlm` Python module.

    python tools/bench_lm.py TEXT [--order 4] [--sentences 20000] [--repeats 5] [--keep DIR]

The peer lives in a virtual environment of its own, made when missing; both sides read the ARPA file
that this tool builds from TEXT, score the same sentences of it in their own processes, in turns,
and must agree. The best of the repeats counts. Times are of the processor: one core, whatever else
the machine does. The builder runs once before, in a process of its own, so that compilation is
neither hidden nor counted as building.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

CACHE = Path.home() / ".cache" / "asr-bench" / "kenlm"
LN_10 = 2.302585092994046

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
print(json.dumps({"build_s": built_s, "arpa_s": arpa_s, "peak_mb": peak,
                  "ngrams": built.model.num_ngrams}))
"""

OURS = """
import json, sys, time
import numpy as np
from pathlib import Path
from asr.lm.files import read_model
from asr.lm.ngram import SENTENCE_BREAK
out, lines = Path(sys.argv[1]), Path(sys.argv[2]).read_text().splitlines()
read_model(out / "lm.bin").sentence_log_prob(["warm", "up"])
start = time.process_time()
model = read_model(out / "lm.bin")
load_s = time.process_time() - start
model.id_of("a")
start = time.process_time()
scores = [model.sentence_log_prob(line.split()) for line in lines]
loop_s = time.process_time() - start
start = time.process_time()
ids = []
for line in lines:
    ids += [model.id_of(word) for word in line.split()]
    ids += [model.eos_id, SENTENCE_BREAK]
ids = np.array(ids, np.int64)
encode_s = time.process_time() - start
start = time.process_time()
bulk = float(model.score_ids(ids).sum())
bulk_s = time.process_time() - start
assert abs(bulk - sum(scores)) < 1e-6 * abs(bulk)
print(json.dumps({"load_s": load_s, "loop_s": loop_s, "encode_s": encode_s, "bulk_s": bulk_s,
                  "scores": scores}))
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
print(json.dumps({"load_s": load_s, "loop_s": loop_s, "scores": scores}))
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
    sentences = directory / "sentences.txt"
    sentences.write_text("\n".join(chosen), encoding="utf-8")
    peer_python = peer()
    ours, peers = [], []
    for _ in range(arguments.repeats):
        ours.append(run(sys.executable, OURS, directory, sentences))
        peers.append(run(peer_python, PEER, directory, sentences))
    pairs = zip(ours[0]["scores"], peers[0]["scores"], strict=True)
    far = max(abs(mine / LN_10 - theirs) for mine, theirs in pairs)
    num_queries = sum(len(line.split()) + 1 for line in chosen)
    peer_ns = best(peers, "loop_s") / num_queries * 1e9
    print(f"{len(chosen)} sentences, {num_queries} queries, log10 differs by at most {far:.1e}")
    print(f"kenlm, loop: {peer_ns:.0f} ns a query; loads ARPA in {best(peers, 'load_s'):.2f} s")
    for name, key in (("loop over sentences", "loop_s"), ("bulk, ids given", "bulk_s")):
        ns = best(ours, key) / num_queries * 1e9
        print(f"asr, {name}: {ns:.0f} ns a query, {peer_ns / ns:.1f} times as fast")
    print(f"asr loads the binary in {1000 * best(ours, 'load_s'):.0f} ms")


def best(results: list[dict[str, Any]], key: str) -> float:
    """The smallest of the repeats."""
    return float(min(result[key] for result in results))


def run(python: str | Path, script: str, *arguments: object) -> dict[str, Any]:
    """What a script prints as JSON, in a process of its own."""
    command = [str(python), "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
