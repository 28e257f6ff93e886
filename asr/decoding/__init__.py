"""From log-probabilities to words: the decoders and the values they give (numpy, no torch)."""

from asr.decoding.checks import check_batch, check_log_probs
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.types import Decoder, Hypothesis, LogProbs, Word

__all__ = [
    "Decoder",
    "GreedyDecoder",
    "Hypothesis",
    "LogProbs",
    "Word",
    "check_batch",
    "check_log_probs",
]
