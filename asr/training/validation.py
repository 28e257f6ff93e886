"""Development loss and word error rate, decoded on the device as the configuration says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from asr.audio_cache import AudioCache, AudioFiles
from asr.decoding import GreedyDecoder, Hypothesis
from asr.errors import ConfigError
from asr.evaluation import score_texts
from asr.experiment import ExperimentConfig, ValidationConfig, output_frame_s
from asr.features import LogMel
from asr.lm.files import read_model
from asr.manifest import Utterance
from asr.model import AcousticModel, Emissions
from asr.tensor_decoding import TensorBeamConfig, TensorBeamDecoder
from asr.text import normalize
from asr.tokens import Tokenizer
from asr.training.data import encode_all, plain_batches
from asr.training.losses import Objective
from asr.training.state import Validation

NUM_SAMPLES_SHOWN = 8


@dataclass(frozen=True)
class Samples:
    """What TensorBoard shows of a validation."""

    texts: dict[str, tuple[str, str]]
    """(reference, hypothesis) by utterance id."""
    features: np.ndarray
    """(num_frames, num_mels) of one utterance."""


class Validator:
    """Scores a model on one development set.

    Args:
        config: All settings.
        utterances: The development set.
        audio: Its waveforms, in the same order.
        tokenizer: The vocabulary.
        models: Front end and acoustic model, as they are being trained.
        objective: What they are trained for.

    Raises:
        ConfigError: Settings of a search are given for greedy decoding.
        DataError: The language model cannot be read, or does not fit the vocabulary.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        utterances: Sequence[Utterance],
        audio: AudioCache | AudioFiles,
        tokenizer: Tokenizer,
        models: tuple[LogMel, AcousticModel],
        objective: Objective,
    ) -> None:
        self._config = config
        self.objective = objective
        self._utterances = utterances
        self._audio = audio
        self._targets = encode_all(utterances, config, tokenizer)
        self._references = {one.id: normalize(one.text, config.text) for one in utterances}
        self._front_end, self._model = models
        self._decoder = _decoder(config.validation, tokenizer, output_frame_s(*models))

    @torch.inference_mode()
    def validate(self, epoch: int) -> tuple[Validation, Samples]:
        """Decode and score the whole set with the model as it is now."""
        self._front_end.eval()
        self._model.eval()
        device = next(self._model.parameters()).device
        hypotheses: dict[str, str] = {}
        loss_sum, num_tokens, shown = 0.0, 0, np.zeros((1, 1), dtype=np.float32)
        batches = plain_batches(self._utterances, self._audio, self._targets, self._config.batching)
        for batch in batches:
            on_device = batch.to(device)
            features, lengths = self._front_end(on_device.samples, on_device.sample_lengths)
            emissions = self._model(features, lengths)
            loss_sum += float(self.objective.losses(emissions, on_device).sum())
            num_tokens += int(batch.num_tokens)
            decoded = self._decode(emissions)
            hypotheses |= {
                name: best[0].text for name, best in zip(batch.ids, decoded, strict=True)
            }
            shown = features[0, : int(lengths[0])].float().cpu().numpy()
        report = score_texts(self._references, hypotheses)
        validation = Validation(
            epoch=epoch,
            errors=report.words.num_errors,
            words=report.words.num_references,
            loss=loss_sum / num_tokens,
        )
        first = list(self._references)[:NUM_SAMPLES_SHOWN]
        texts = {name: (self._references[name], hypotheses[name]) for name in first}
        return validation, Samples(texts, shown)

    def _decode(self, emissions: Emissions) -> list[list[Hypothesis]]:
        lengths = emissions.lengths.cpu().numpy()
        if isinstance(self._decoder, TensorBeamDecoder):
            return self._decoder.decode_batch(emissions.log_probs.float(), lengths)
        return self._decoder.decode_batch(emissions.log_probs.float().cpu().numpy(), lengths)


def _decoder(
    config: ValidationConfig, tokenizer: Tokenizer, frame_s: float
) -> GreedyDecoder | TensorBeamDecoder:
    if config.decoder == "greedy":
        if config.lm is not None or config.beam != TensorBeamConfig():
            raise ConfigError(
                "greedy decoding takes neither validation.lm nor settings of validation.beam",
                hint="validation.decoder=beam searches with them; or leave them out",
            )
        return GreedyDecoder(tokenizer, frame_s)
    lm = read_model(config.lm) if config.lm is not None else None
    return TensorBeamDecoder(tokenizer, frame_s, config.beam, lm)
