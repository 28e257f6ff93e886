"""From log-probabilities to words: the decoders and the values they give (numpy, no torch)."""

from asr.decoding.beam import BeamDecoder
from asr.decoding.beam_stream import BeamStream
from asr.decoding.checks import check_batch, check_log_probs
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.joining import join_pieces
from asr.decoding.knowledge import Knowledge
from asr.decoding.options import BeamConfig
from asr.decoding.types import Decoder, Hypothesis, LogProbs, Stream, Word

__all__ = [
    "BeamConfig",
    "BeamDecoder",
    "BeamStream",
    "Decoder",
    "GreedyDecoder",
    "Hypothesis",
    "Knowledge",
    "LogProbs",
    "Stream",
    "Word",
    "check_batch",
    "check_log_probs",
    "join_pieces",
]
