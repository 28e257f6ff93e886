"""Time the beam search over tensors beside the compiled one: same emissions, same settings.

    OMP_NUM_THREADS=1 python tools/bench_tensor_decoding.py [--frames 200] [--batch 32]

Emissions are synthetic: mostly blanks, and peaks of one frame with a few rivals, float32. The
language model is a 3-gram of tokens from random text. The compiled decoder has one thread and gets
arrays of the CPU; the other gets a padded batch, on the CPU and, where there is one, on the GPU.
CPU figures are processor time, GPU figures wall time, the best of the repeats after a warm-up.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from asr.decoding import BeamConfig, BeamDecoder, Hypothesis, Knowledge
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.ngram import NgramModel
from asr.tensor_decoding import TensorBeamConfig, TensorBeamDecoder
from asr.tokens import Tokenizer, TokensConfig, build_tokenizer

FRAME_S = 0.04
REPEATS = 3
Decode = Callable[[], list[list[Hypothesis]]]


def main() -> None:
    """Print a row for each vocabulary, language model and beam."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--beams", type=int, nargs="+", default=[10, 50, 100])
    arguments = parser.parse_args()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    print(f"{arguments.batch} utterances of {arguments.frames} frames; utterances a second")
    names = [f"{name:>8}" for device in devices for name in (device, "ratio", "differ")]
    print("tokens    LM beam compiled " + " ".join(names))
    for vocab_size in (29, 500):
        tokenizer = build_tokenizer(TokensConfig(kind="word"), [" ".join(words(vocab_size))])
        emissions = synthetic(arguments.batch, arguments.frames, len(tokenizer.vocab))
        for lm in (None, language_model(tokenizer)):
            for beam in arguments.beams:
                row(tokenizer, emissions, lm, beam, devices)


def row(
    tokenizer: Tokenizer,
    emissions: np.ndarray,
    lm: NgramModel | None,
    beam: int,
    devices: list[str],
) -> None:
    """Measure one setting: utterances a second, their ratio, and how many best texts differ."""
    config = BeamConfig(beam_width=beam, lm_unit="token", num_threads=1)
    compiled = BeamDecoder(tokenizer, FRAME_S, config, Knowledge(lm=lm))
    decoder = TensorBeamDecoder(tokenizer, FRAME_S, TensorBeamConfig(beam_width=beam), lm)
    expected, seconds = timed(lambda: compiled.decode_list(list(emissions)), "cpu")
    cells = [f"{len(emissions) / seconds:8.1f}"]
    lengths = [emissions.shape[1]] * len(emissions)
    for device in devices:
        batch = torch.from_numpy(emissions).to(device)
        found, other = timed(lambda batch=batch: decoder.decode_batch(batch, lengths), device)
        differ = sum(a[0].tokens != b[0].tokens for a, b in zip(found, expected, strict=True))
        cells += [f"{len(emissions) / other:8.1f}", f"{seconds / other:8.2f}", f"{differ:8}"]
    print(f"{len(tokenizer.vocab):6} {'yes' if lm else 'no':>5} {beam:4} " + " ".join(cells))


def timed(decode: Decode, device: str) -> tuple[list[list[Hypothesis]], float]:
    """Result, and the seconds of the fastest repeat; decoding ends with a copy to the host."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    found, times = decode(), []
    for _ in range(REPEATS):
        start = clock()
        decode()
        times.append(clock() - start)
    return found, min(times)


def words(count: int) -> list[str]:
    """So many distinct words."""
    return [f"w{index}" for index in range(1, count)]


def synthetic(batch: int, num_frames: int, vocab_size: int) -> np.ndarray:
    """(batch, num_frames, vocab_size) float32 natural log-probabilities."""
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((batch, num_frames, vocab_size))
    logits[..., 0] += np.where(generator.random((batch, num_frames)) < 0.7, 12.0, 4.0)
    rivals = generator.integers(1, vocab_size, (batch, num_frames, 4))
    np.put_along_axis(logits, rivals, generator.uniform(5.0, 10.0, rivals.shape), axis=2)
    return torch.from_numpy(logits).log_softmax(2).float().numpy()


def language_model(tokenizer: Tokenizer) -> NgramModel:
    """A 3-gram of the tokens."""
    generator = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "text"
        lines = (generator.zipf(1.3, 12) % (len(tokenizer.vocab) - 1) + 1 for _ in range(5000))
        text = "\n".join(" ".join(tokenizer.vocab[token] for token in line) for line in lines)
        path.write_text(text + "\n" + " ".join(tokenizer.vocab[1:]) + "\n", encoding="utf-8")
        return build_model([path], BuildOptions(order=3)).model


if __name__ == "__main__":
    main()
