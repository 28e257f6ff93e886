"""One contestant of `bench_decoding.py`, in a process and an environment of its own.

    python tools/bench_decoding_contestant.py NAME JOB

The job is JSON: `directory` with `setup.json` and the emissions of each `part`, `task`, `beam`,
`settings` to decode with (weight, bonus, pruning) and `limit` in processor seconds. What comes of
it is printed as one line of JSON. Only NumPy is needed beside what competes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MEMORY_LIMIT_GB = 10
IMPOSSIBLE = -20.0  # log-probability of what does not stand in a frame made by hand
Setting = tuple[float, ...]
Decode = Callable[[np.ndarray], str]
Job = dict[str, Any]
Prepare = Callable[[Setting], Decode]
Make = Callable[[Job, int], Prepare]


def main() -> None:
    """Do the job of the command line; print what came of it as JSON."""
    name, job = sys.argv[1], json.loads(sys.argv[2])
    directory = Path(job["directory"])
    setup = json.loads((directory / "setup.json").read_text())
    data = np.load(directory / f"{job['part']}.npz")
    emissions = np.split(data["log_probs"], np.cumsum(data["lengths"])[:-1])
    task = {"decode": _decode_all, "first": _first_call, "threads": _threads}[job["task"]]
    print(json.dumps(task(MAKERS[name], setup, emissions, job)))


def _decode_all(make: Make, setup: Job, emissions: Sequence[np.ndarray], job: Job) -> Job:
    """Texts and seconds for each setting, and memory, within the limits of the job."""
    prepare = make(setup, job["beam"])
    texts, seconds = [], []
    prepare(job["settings"][0])(emissions[0][:100])
    before_mb = _start_peak()
    _limit(job["limit"])
    for setting in job["settings"]:
        decode = prepare(setting)
        decode(emissions[0][:100])
        start = time.process_time()
        texts.append([decode(one) for one in emissions])
        seconds.append(time.process_time() - start)
    peak_mb = _memory_mb("VmHWM")
    return {
        "texts": texts,
        "seconds": seconds,
        "peak_mb": peak_mb,
        "added_mb": peak_mb - before_mb,
    }


def _limit(limit_s: int | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_GB << 30,) * 2)
    if limit_s is not None:
        end_s = int(time.process_time()) + limit_s
        resource.setrlimit(resource.RLIMIT_CPU, (end_s, end_s + 5))


def _memory_mb(field: str) -> float:
    """A size from Linux: `ru_maxrss` would count what the parent process had before `exec`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1000
    raise SystemExit(f"/proc/self/status has no {field}: peaks of memory need Linux")


def _start_peak() -> float:
    """Forget the peak of loading; the memory in use, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mb("VmRSS")


def _first_call(make: Make, setup: Job, emissions: Sequence[np.ndarray], job: Job) -> Job:
    """Processor seconds that the first loading and decoding take longer than the second."""
    import asr.decoding
    import asr.lm.files  # noqa: F401

    times = [time.process_time()]
    for _ in range(2):
        make(setup, job["beam"])(job["settings"][0])(emissions[0])
        times.append(time.process_time())
    return {"seconds": (times[1] - times[0]) - (times[2] - times[1])}


def _threads(make: Make, setup: Job, emissions: Sequence[np.ndarray], job: Job) -> Job:
    """Wall seconds of one and of two threads for an hour or more, each the best of five."""
    num_frames = sum(map(len, emissions))
    many = list(emissions) * int(np.ceil(3600 / setup["frame_s"] / num_frames))
    build = _asr_builder(setup, job["beam"])
    decoders = [build(job["settings"][0], num_threads=count) for count in (1, 2)]
    times: list[list[float]] = [[], []]
    for _ in range(6):
        for decoder, walls in zip(decoders, times, strict=True):
            start = time.perf_counter()
            decoder.decode_list(many)
            walls.append(time.perf_counter() - start)
    return {"seconds": [min(walls[1:]) for walls in times]}


def _asr_builder(setup: Job, beam: int) -> Callable[..., Any]:
    """What makes a decoder of a setting and more options."""
    from asr.decoding import BeamConfig, BeamDecoder, Knowledge
    from asr.lm.files import read_model
    from asr.tokens import tokenizer_from_dict

    tokenizer = tokenizer_from_dict(setup["tokenizer"])
    knowledge = Knowledge(read_model(Path(setup["lm"])))

    def build(setting: Setting, **options: Any) -> BeamDecoder:
        names = ("lm_weight", "word_bonus", "beam_threshold", "token_threshold")
        options |= zip(names, setting, strict=True)
        config = BeamConfig(beam_width=beam, **options)
        return BeamDecoder(tokenizer, setup["frame_s"], config, knowledge)

    return build


def _asr(setup: Job, beam: int, vocabulary: str) -> Prepare:
    build = _asr_builder(setup, beam)

    def prepare(setting: Setting) -> Decode:
        decoder = build(setting, vocabulary=vocabulary)
        return lambda log_probs: str(decoder.decode(log_probs)[0].text)

    return prepare


def _pyctcdecode(setup: Job, beam: int) -> Prepare:
    from pyctcdecode import build_ctcdecoder

    decoder = build_ctcdecoder(["", *setup["vocab"][1:]], setup["lm"], list(setup["spellings"]))

    def prepare(setting: Setting) -> Decode:
        # It turns KenLM's log10 into natural logarithms itself.
        weight, bonus, prune, token = setting
        decoder.reset_params(alpha=weight, beta=bonus)
        return lambda log_probs: str(decoder.decode(log_probs, beam, prune, token))

    return prepare


def _flashlight(setup: Job, beam: int) -> Prepare:
    """Lexicon decoder, words ended by a space; without a space token by a silence never heard."""
    from flashlight.lib.text import decoder as fl
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    words = Dictionary([*setup["spellings"], "<unk>"])
    model = KenLM(setup["lm"], words)
    has_space = setup["space"] is not None
    num_tokens = len(setup["vocab"]) + (not has_space)
    silence = setup["space"] if has_space else num_tokens - 1
    trie = fl.Trie(num_tokens, silence)
    start = model.start(False)
    for word, spelling in setup["spellings"].items():
        index = words.get_index(word)
        _, score = model.score(start, index)
        trie.insert([*spelling, silence] if has_space else spelling, index, score)
    trie.smear(fl.SmearingMode.MAX)
    ending = np.full((1, num_tokens), IMPOSSIBLE, np.float32)
    ending[0, silence] = 0.0

    def pad(log_probs: np.ndarray) -> np.ndarray:
        if has_space:  # It loses a last word that no space ends.
            return np.concatenate([log_probs, ending])
        never = np.full((len(log_probs), 1), 10 * IMPOSSIBLE, np.float32)
        return np.concatenate([log_probs, never], axis=1)

    def prepare(setting: Setting) -> Decode:
        weight, bonus, threshold, most_tokens = setting
        # It adds KenLM's log10 to natural logarithms; other words are -inf, silence nothing.
        options = fl.LexiconDecoderOptions(
            *(beam, int(min(most_tokens, num_tokens)), threshold, weight * np.log(10), bonus),
            *(-np.inf, 0.0, True, fl.CriterionType.CTC),
        )
        unknown = words.get_index("<unk>")
        decoder = fl.LexiconDecoder(options, trie, model, silence, 0, unknown, [], False)

        def decode(log_probs: np.ndarray) -> str:
            padded = pad(log_probs)
            best = decoder.decode(padded.ctypes.data, *padded.shape)[0]
            return " ".join(words.get_entry(index) for index in best.words if index >= 0)

        return decode

    return prepare


MAKERS: dict[str, Make] = {
    "asr open": lambda setup, beam: _asr(setup, beam, "open"),
    "asr closed": lambda setup, beam: _asr(setup, beam, "closed"),
    "pyctcdecode": _pyctcdecode,
    "flashlight": _flashlight,
}

if __name__ == "__main__":
    main()
