"""Forward and backward through one bidirectional LSTM layer over utterances of different lengths.

Side by side in one run: this project's layer, torch.nn.LSTM over packed sequences (the usual way,
and what this layer must equal), and torch.nn.LSTM over padded ones, which is wrong (the backward
direction starts in the padding) and only shows what the arithmetic itself costs.

    OMP_NUM_THREADS=1 python tools/bench_lstm.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.model.config import ModelConfig
from asr.model.encoder import Ragged, TorchLayer

# batch, frames of the longest utterance (the shortest has 70 %), input width, units
SHAPES = [(8, 75, 384, 192), (16, 100, 384, 192), (8, 100, 640, 320), (16, 150, 640, 320)]
REPEATS = 5


def main() -> None:
    """Print milliseconds, fastest of `REPEATS` interleaved rounds, and the largest difference."""
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} thread(s), torch {torch.__version__}, milliseconds")
    print("batch frames width units   ours packed padded  packed/ours  difference")
    for batch, max_frames, width, units in SHAPES:
        layer = TorchLayer(width, ModelConfig(units=units))
        lengths = torch.linspace(0.7 * max_frames, max_frames, batch).long()
        ways = ways_of(layer, lengths)
        frames = torch.randn(batch, max_frames, width)
        results = [run(layer, way, frames) for way in ways]
        rounds = [[timed(layer, way, frames) for way in ways] for _ in range(REPEATS)]
        ours, packed, padded = (1e3 * min(times) for times in zip(*rounds, strict=True))
        difference = max(
            float((one - other).abs().max() / other.abs().max())
            for one, other in zip(results[0], results[1], strict=True)
        )
        print(
            f"{batch:5} {max_frames:6} {width:5} {units:5} {ours:6.1f} {packed:6.1f} "
            f"{padded:6.1f} {packed / ours:12.2f} {difference:11.1e}"
        )


def ways_of(layer: TorchLayer, lengths: Tensor) -> list[Callable[[Tensor], Tensor]]:
    """This layer, torch packed, torch padded."""

    def ours(frames: Tensor) -> Tensor:
        return Ragged(layer(Ragged(frames, lengths, False)), lengths, False).padded()

    def packed(frames: Tensor) -> Tensor:
        sequence = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(layer.rnn(sequence)[0], batch_first=True)[0]

    return [ours, packed, lambda frames: layer.rnn(frames)[0]]


def run(layer: TorchLayer, way: Callable[[Tensor], Tensor], frames: Tensor) -> list[Tensor]:
    """Outputs and every gradient."""
    layer.zero_grad()
    frames = frames.clone().requires_grad_()
    outputs = way(frames)
    outputs.square().sum().backward()
    return [outputs.detach(), frames.grad, *(weight.grad for weight in layer.parameters())]


def timed(layer: TorchLayer, way: Callable[[Tensor], Tensor], frames: Tensor) -> float:
    """Seconds of one forward and backward."""
    start = time.perf_counter()
    run(layer, way, frames)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
