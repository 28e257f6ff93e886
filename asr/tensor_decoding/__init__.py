"""Beam search in plain PyTorch: batched over utterances and prefixes, where the emissions are.

It finds what `asr.decoding.BeamDecoder` finds, without leaving the GPU: for validation in training,
where few processor cores would have to decode what the GPU gives.
"""

from asr.tensor_decoding.decoder import TensorBeamConfig, TensorBeamDecoder
from asr.tensor_decoding.search import TensorHypotheses

__all__ = ["TensorBeamConfig", "TensorBeamDecoder", "TensorHypotheses"]
