"""A trained recogniser: audio in, hypotheses out.

`Recognizer.load(path)` needs nothing but the model file: configuration, vocabulary, feature
statistics and weights are all inside, and, once tuned, the settings and the language model of its
decoder. Turning features into emissions is left to a backend, so
that another runtime can stand behind the same interface.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from asr.audio import (
    ReadOptions,
    Waveform,
    cut_at_pauses,
    heard_range,
    read_audio,
    resample,
)
from asr.batching import BatchConfig, plan_batches
from asr.checkpoint import MODEL_KIND, load_state, load_tensors, save_tensors
from asr.config import parse_options
from asr.ctc import BLANK
from asr.decoder_setup import (
    DecoderSource,
    DecodingChoice,
    StoredDecoding,
    choose_decoder,
    parse_stored,
)
from asr.decoding import BeamDecoder, Decoder, Hypothesis, LogProbs, join_pieces
from asr.errors import ConfigError, DataError, ModelFileError
from asr.experiment import (
    ExperimentConfig,
    build_front_end,
    build_model,
    num_output_frames,
    output_frame_s,
)
from asr.features import LogMel
from asr.model import AcousticModel
from asr.shipped import resolve_model
from asr.threads import map_in_threads
from asr.tokens import Tokenizer, tokenizer_from_dict

DECODING_DOCUMENT = "decoding"
LM_TENSOR = "lm.data"
"""The mapped binary of the language model, as `asr tune` stores it."""
COMPACT_LM_TENSOR = "lm.compact"
"""Its compact form, as `asr pack` stores it."""
MAX_BATCH_S = 60.0
"""Audio seconds recognised at once by a thread: enough to keep it busy, little memory."""
MAX_GROUP_S = 8 * MAX_BATCH_S
"""Audio seconds read before they are recognised: work for as many threads."""
SAY_THE_RATE = "say the rate of samples: asr.audio.Waveform(samples, sample_rate_hz)"
LONG_S, LONG_FACTOR = 10.0, 4.0
"""Recordings up to this length, and up to so many times what a model's training utterances last in
the mean, are recognised whole."""
NOT_SAID = -30.0
"""Natural log-probability of each token where nothing was recorded."""
MUTED_S = 1.0
"""So much of the zero samples before the first other one, and after the last, the model hears."""


Source: TypeAlias = tuple[str, Path, ReadOptions]
"""Id, file, and how to read it."""
Read: TypeAlias = tuple[str, Waveform | DataError]
"""Id, and what was read or why it was not."""


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` takes CUDA where present.

    Raises:
        ConfigError: It is no CPU or CUDA device, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unknown device {name!r}", hint="use auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} asked for, but no CUDA device is present")
    return device


@dataclass(frozen=True)
class ModelParts:
    """What a model file holds beside its settings and vocabulary."""

    front_end: Mapping[str, Tensor]
    """State of the front end: feature statistics."""
    model: Mapping[str, Tensor]
    """Weights of the acoustic model."""
    summary: Mapping[str, Any]
    """How it was trained: epochs, development WER with counts; JSON-able."""


class Recognizer:
    """Front end, acoustic model and decoder of one model file."""

    def __init__(
        self,
        config: ExperimentConfig,
        front_end: LogMel,
        model: AcousticModel,
        source: DecoderSource,
        choice: DecodingChoice | None = None,
        long_s: float = LONG_S,
    ) -> None:
        self.config = config
        self.tokenizer = source.tokenizer
        self.front_end = front_end.eval()
        self.model = model.eval()
        self.frame_s = source.frame_s
        self.source = source
        self.long_s = long_s
        self._chosen = choose_decoder(source, choice or DecodingChoice())
        self._device = next(model.parameters()).device

    @property
    def sample_rate_hz(self) -> int:
        """Rate the model was trained at; other audio is resampled to it."""
        return self.config.features.sample_rate_hz

    @property
    def decoder(self) -> Decoder:
        """What turns log-probabilities into hypotheses."""
        return self._chosen.decoder

    @property
    def decoding(self) -> str:
        """One line for people: which decoder that is, and its settings."""
        return self._chosen.description

    def with_decoding(self, choice: DecodingChoice) -> Recognizer:
        """The same recogniser with another decoder.

        Raises:
            ConfigError, DataError, ModelFileError: As `choose_decoder`.
        """
        other = copy(self)
        other._chosen = choose_decoder(self.source, choice)
        return other

    @classmethod
    def load(
        cls, path: Path | str, device: str = "auto", choice: DecodingChoice | None = None
    ) -> Recognizer:
        """Read a model file.

        Args:
            path: The file, or the name of a model that comes with the package.
            device: See `choose_device`.
            choice: How to decode; by default as the file says, and greedily where it does not.

        Raises:
            ModelFileError: The file is missing, damaged, foreign or of another version.
            ConfigError: The device is not there, or the choice contradicts itself.
            DataError: A file of the choice cannot be used with this model.
        """
        chosen = choose_device(device)
        path = resolve_model(path)
        tensors, documents = load_tensors(path, MODEL_KIND)
        try:
            config = parse_options(ExperimentConfig, documents["config"], str(path))
            tokenizer = tokenizer_from_dict(documents["tokenizer"])
        except KeyError as error:
            raise ModelFileError(f"{path} lacks its {error.args[0]}") from None
        except ConfigError as error:
            raise ModelFileError(
                f"{path} holds settings this release does not read: {error}"
            ) from None
        front_end = build_front_end(config)
        with torch.device("meta"):  # no memory before `load_state` knows that the sizes are right
            model = build_model(config, len(tokenizer.vocab))
        load_state(front_end, _part(tensors, "features."), path)
        load_state(model, _part(tensors, "model."), path)
        stored = documents.get(DECODING_DOCUMENT)
        source = DecoderSource(
            tokenizer,
            output_frame_s(front_end, model),
            config.text,
            stored=None if stored is None else parse_stored(stored, path),
            lm_data=_lm_data(tensors, path),
            path=path,
        )
        long_s = _long_s(documents.get("training"))
        return cls(config, front_end.to(chosen), model.to(chosen), source, choice, long_s)

    def emissions(self, waveforms: Sequence[Waveform]) -> list[np.ndarray]:
        """Log-probabilities of each waveform, computed as one batch.

        Where nothing was recorded, every sample zero, nothing was said: in an utterance of such
        samples, and in those at its ends, `MUTED_S` beside the others apart, each frame is blank,
        whatever a model that never heard such audio makes of it.

        Args:
            waveforms: Mono audio of any rate.

        Returns:
            For each, (num_frames, vocab_size) float32 natural log-probabilities.

        Raises:
            DataError: A waveform is none, or shorter than one analysis window; or `waveforms` is
                no list of them.
        """
        _check_waveforms(self, waveforms)
        return self._emissions_of([waveforms])[0] if waveforms else []

    def _emissions_of(self, batches: Sequence[Sequence[Waveform]]) -> list[list[np.ndarray]]:
        """Emissions of each batch; on a CPU several at a time, a thread for each."""
        if self._device.type == "cpu":
            return map_in_threads(self._emit, batches)
        return list(map(self._emit, batches))

    @torch.inference_mode()
    def _emit(self, waveforms: Sequence[Waveform]) -> list[np.ndarray]:
        samples = self._at_rate(waveforms)
        step = round(self.frame_s * self.sample_rate_hz)
        num_muted = round(MUTED_S * self.sample_rate_hz)
        ranges = [heard_range(one, num_muted, step) for one in samples]
        heard = [one[place] for one, place in zip(samples, ranges, strict=True)]
        emitted = self.model(*self._features(heard))
        log_probs = emitted.log_probs.float().cpu().numpy()
        lengths = [num_output_frames(self.front_end, self.model, len(one)) for one in samples]
        found = [np.full((length, log_probs.shape[2]), NOT_SAID, np.float32) for length in lengths]
        for row, frames in enumerate(found):
            frames[:, BLANK] = 0.0
            if samples[row].any():
                first, num_heard = ranges[row].start // step, int(emitted.lengths[row])
                frames[first : first + num_heard] = log_probs[row, :num_heard]
        return found

    @torch.inference_mode()
    def features(self, waveform: Waveform) -> np.ndarray:
        """(num_frames, num_mels) float32 features of one waveform, as the model sees them."""
        _check_waveforms(self, [waveform])
        features, _ = self._features(self._at_rate([waveform]))
        return np.asarray(features[0].float().cpu().numpy())

    def _at_rate(self, waveforms: Sequence[Waveform]) -> list[np.ndarray]:
        """Samples at the rate of the model."""
        return [resample(waveform, self.sample_rate_hz).samples for waveform in waveforms]

    def _features(self, at_rate: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Features (batch, max_frames, num_mels) of samples, and their lengths (batch,)."""
        lengths = torch.tensor([len(samples) for samples in at_rate])
        padded = np.zeros((len(at_rate), int(lengths.max())), np.float32)
        for row, samples in zip(padded, at_rate, strict=True):
            row[: len(samples)] = samples
        features: tuple[Tensor, Tensor] = self.front_end(
            torch.from_numpy(padded).to(self._device), lengths
        )
        return features

    def transcribe(self, audio: Path | str | Waveform) -> Hypothesis:
        """Recognise one file or waveform.

        Raises:
            DataError: The audio is neither, cannot be read, or is too short.
        """
        return self.transcribe_many([audio])[0]

    def pieces(self, waveform: Waveform) -> list[tuple[int, Waveform]]:
        """A recording of more than `long_s` cut at pauses, each piece with its first frame."""
        step = round(self.frame_s * self.sample_rate_hz)
        return cut_at_pauses(waveform, self.sample_rate_hz, step, self.long_s)

    def decode(self, emissions: Sequence[LogProbs]) -> list[Hypothesis]:
        """Best hypothesis of each, in parallel threads where the decoder can.

        Args:
            emissions: Of each utterance, (num_frames, vocab_size) natural log-probabilities.
        """
        return [found[0] for found in self.decode_n_best(emissions)]

    def decode_n_best(self, emissions: Sequence[LogProbs]) -> list[list[Hypothesis]]:
        """Hypotheses of each, best first: one or more, `BeamConfig.num_best` at most.

        Args:
            emissions: As of `decode`.

        Raises:
            DataError: They are no list, or one is no array of normalised log-probabilities.
        """
        if not isinstance(emissions, Sequence | np.ndarray):
            raise DataError(
                f"emissions must be a list of arrays, got one {type(emissions).__name__}"
            )
        if isinstance(self.decoder, BeamDecoder):
            return self.decoder.decode_list(emissions)
        return [self.decoder.decode(log_probs) for log_probs in emissions]

    def read(self, path: Path) -> Waveform:
        """Read a whole file, mixed to mono at the model's rate."""
        return read_audio(path, ReadOptions(sample_rate_hz=self.sample_rate_hz))

    def transcribe_many(self, audio: Sequence[Path | str | Waveform]) -> list[Hypothesis]:
        """Recognise many files or waveforms, similar lengths together; in the order given.

        All of them are in memory at once; `transcribe_each` reads any number of files in turn.

        Raises:
            DataError: As `transcribe`, of the first; or `audio` is no list.
        """
        if isinstance(audio, Path | str | Waveform) or not isinstance(audio, Iterable):
            raise DataError(
                f"audio must be a list of files and waveforms, got one {type(audio).__name__}",
                hint="put it into a list, or call `transcribe`",
            )
        return [found[0] for found in self.recognize([self._heard(one) for one in audio])]

    def recognize(self, waveforms: Sequence[Waveform]) -> list[list[Hypothesis]]:
        """Hypotheses of each waveform, best first, as of `decode_n_best`.

        Recordings of more than `long_s` are recognised in pieces that are cut at pauses, each as
        an utterance of its own.

        Raises:
            DataError: As of `emissions`.
        """
        _check_waveforms(self, waveforms)
        pieces = [self.pieces(one) for one in waveforms]
        emissions = self.emissions_many([piece for own in pieces for _, piece in own])
        found = iter(self.decode_n_best(emissions))
        return [
            join_pieces([next(found) for _ in own], [first for first, _ in own], self.frame_s)
            for own in pieces
        ]

    def _heard(self, audio: Path | str | Waveform) -> Waveform:
        if isinstance(audio, Waveform):
            return audio
        if isinstance(audio, Path | str):
            waveform = self.read(Path(audio))
            check_length(self, str(audio), waveform)
            return waveform
        raise DataError(
            f"audio must be a file or a Waveform, got {type(audio).__name__}",
            hint=SAY_THE_RATE,
        )

    def emissions_many(self, waveforms: Sequence[Waveform]) -> list[np.ndarray]:
        """`emissions` of any number of waveforms, similar lengths together; in the order given.

        Raises:
            DataError: As of `emissions`.
        """
        _check_waveforms(self, waveforms)
        durations_s = [waveform.duration_s for waveform in waveforms]
        plan = plan_batches(durations_s, BatchConfig(max_batch_s=MAX_BATCH_S))[::-1]
        found = self._emissions_of([[waveforms[index] for index in batch] for batch in plan])
        results: dict[int, np.ndarray] = {}
        for batch, emissions in zip(plan, found, strict=True):
            results |= zip(batch, emissions, strict=True)
        return [results[index] for index in range(len(waveforms))]


def _long_s(training: object) -> float:
    """`LONG_S` or more, by what a model file says of its training."""
    said = training if isinstance(training, Mapping) else {}
    hours, count = said.get("train_h"), said.get("train_utterances")
    if not isinstance(hours, float) or not isinstance(count, int) or count < 1:
        return LONG_S
    mean_s = 3600 * hours / count
    return max(LONG_S, LONG_FACTOR * mean_s) if math.isfinite(mean_s) else LONG_S


def transcribe_each(
    recognizer: Recognizer, sources: Sequence[Source]
) -> Iterator[tuple[str, list[Hypothesis] | DataError]]:
    """Recognise many files in order; a bad one yields its error and the others go on.

    Files are read and recognised in groups of bounded duration, so memory does not grow with
    their number.

    Args:
        recognizer: What recognises them.
        sources: (id, path, read options) of each.

    Yields:
        (id, hypotheses or the error), in the order given; hypotheses as of `decode_n_best`.
    """
    for group in read_groups(recognizer, sources):
        waveforms = [item for _, item in group if isinstance(item, Waveform)]
        found = iter(recognizer.recognize(waveforms))
        for source_id, item in group:
            yield source_id, item if isinstance(item, DataError) else next(found)


def read_groups(recognizer: Recognizer, sources: Sequence[Source]) -> Iterator[list[Read]]:
    """Read files in groups of bounded duration, in the order given; errors stand for bad ones."""
    group: list[Read] = []
    group_s = 0.0
    for source_id, path, options in sources:
        try:
            waveform = read_audio(path, options)
            check_length(recognizer, str(path), waveform)
            group.append((source_id, waveform))
            group_s += waveform.duration_s
        except DataError as error:
            group.append((source_id, error))
        if group_s >= MAX_GROUP_S:
            yield group
            group, group_s = [], 0.0
    if group:
        yield group


def _check_waveforms(recognizer: Recognizer, waveforms: object) -> None:
    """Refuse what is no list of waveforms, each long enough for a frame."""
    if not isinstance(waveforms, Sequence):
        raise DataError(f"waveforms must be a list of them, got one {type(waveforms).__name__}")
    for index, waveform in enumerate(waveforms):
        if not isinstance(waveform, Waveform):
            kind = type(waveform).__name__
            raise DataError(f"waveform {index} must be a Waveform, got {kind}", hint=SAY_THE_RATE)
        check_length(recognizer, f"waveform {index}", waveform)


def check_length(recognizer: Recognizer, name: str, waveform: Waveform) -> None:
    """Refuse audio shorter than one analysis window, by name.

    Raises:
        DataError: The audio gives no frame.
    """
    shortest_s = recognizer.config.features.window_ms / 1000
    if waveform.duration_s < shortest_s:
        raise DataError(
            f"{name} lasts {waveform.duration_s:.4f} s, shorter than one analysis window "
            f"of {shortest_s:.3f} s"
        )


def save_model(
    path: Path, config: ExperimentConfig, tokenizer: Tokenizer, parts: ModelParts
) -> None:
    """Write everything a recogniser needs to one file.

    Raises:
        DataError: The file cannot be written.
    """
    tensors = {f"features.{name}": value for name, value in parts.front_end.items()}
    tensors |= {f"model.{name}": value for name, value in parts.model.items()}
    documents = {
        "config": config.model_dump(mode="json"),
        "tokenizer": tokenizer.to_dict(),
        "training": dict(parts.summary),
    }
    save_tensors(path, MODEL_KIND, tensors, documents)


def store_decoding(path: Path, stored: StoredDecoding, lm_data: bytes | None) -> None:
    """Put settings, and perhaps the language model they go with, into a model file, atomically.

    What was stored before is replaced; everything else in the file stays.

    Raises:
        ModelFileError: The file is no model file.
        DataError: It cannot be written.
    """
    tensors, documents = load_tensors(path, MODEL_KIND)
    tensors.pop(LM_TENSOR, None)
    tensors.pop(COMPACT_LM_TENSOR, None)
    if lm_data is not None:
        tensors[LM_TENSOR] = torch.frombuffer(bytearray(lm_data), dtype=torch.uint8)
    save_tensors(path, MODEL_KIND, tensors, documents | {DECODING_DOCUMENT: stored.document()})


def _lm_data(tensors: Mapping[str, Tensor], path: Path) -> bytes | None:
    """The language model of a file, in either form."""
    for name in (LM_TENSOR, COMPACT_LM_TENSOR):
        if name in tensors:
            tensor = tensors[name]
            if tensor.dtype != torch.uint8 or tensor.dim() != 1:
                raise ModelFileError(f"{path}: {name} must be bytes, got {tensor.dtype}")
            return bytes(tensor.numpy().tobytes())
    return None


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
