"""Beam search over log-probabilities, with and without a language model."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from asr.ctc import check_frame_s
from asr.decoding.beam_stream import BeamStream
from asr.decoding.checks import check_batch, check_form, join_log_probs
from asr.decoding.knowledge import Groundwork, Knowledge
from asr.decoding.options import BeamConfig
from asr.decoding.reading import Script, Search
from asr.decoding.search import Pruning
from asr.decoding.search_state import Workspace
from asr.decoding.types import Hypothesis, LogProbs
from asr.decoding.whole import WholeSearch
from asr.errors import ConfigError
from asr.tokens import Tokenizer

# Nodes of the largest workspace that is kept for the next utterance: some 10 MB.
MAX_SPARE_CAPACITY = 1 << 18

# Values of the emissions that are searched in one go: 16 MB as float64.
MAX_VALUES = 1 << 21
SMALLEST_SHARE = 64
"""No group is smaller than this part of what each thread decodes in all."""


class BeamDecoder:
    """Prefix beam search: time-synchronous, summing all paths of a prefix.

    Keeps the prefixes with the best sum of acoustic log-probability and of what is known about them
    beside the sound. Without pruning (a beam wider than there are prefixes, thresholds `inf`) it
    is exact. Times are those of the best single path of the hypothesis; confidences weigh how
    much of the beam agrees and how decided the model was. Of equal scores the prefix that was in
    the beam first wins.

    Args:
        tokenizer: The one the model was trained with; index 0 is the blank.
        frame_s: Seconds from one frame of `log_probs` to the next: hop times subsampling.
        config: Settings.
        knowledge: What counts beside the sound.

    Raises:
        ConfigError: `frame_s` is not a positive number, `config` is of another kind, or a closed
            vocabulary has no words.
        DataError: Something in `knowledge` does not fit the tokenizer or each other.

    References:
        Graves (2008), section 7.5.1; Hannun et al. (2014), First-pass large vocabulary continuous
        speech recognition using bi-directional recurrent DNNs.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        frame_s: float,
        config: BeamConfig | None = None,
        knowledge: Knowledge | None = None,
    ) -> None:
        check_frame_s(frame_s)
        config = config or BeamConfig()
        knowledge = knowledge or Knowledge()
        if not isinstance(config, BeamConfig):
            raise ConfigError(
                f"config must be a BeamConfig, got {type(config).__name__}",
                hint="such as BeamConfig(beam_width=50)",
            )
        self._tokenizer, self._frame_s, self._knowledge = tokenizer, frame_s, knowledge
        self._set(config, Groundwork(tokenizer, config.lm_unit, knowledge))

    def with_config(self, config: BeamConfig) -> BeamDecoder:
        """A decoder of other settings, much sooner than one that is built from nothing.

        Raises:
            ConfigError, DataError: As of the class.
        """
        if config.lm_unit != self._groundwork.lm_unit:
            return BeamDecoder(self._tokenizer, self._frame_s, config, self._knowledge)
        other = copy.copy(self)
        other._set(config, self._groundwork)
        return other

    def _set(self, config: BeamConfig, groundwork: Groundwork) -> None:
        self._groundwork = groundwork
        fusion, start, writer = groundwork.build(config)
        pruning = Pruning(config.beam_width, config.beam_threshold, config.token_threshold)
        script = Script(writer, self._frame_s, fusion.spelling, config.calibration)
        self._search = Search(script, pruning, fusion, start, config.num_best)
        self._whole = WholeSearch(self._search)
        self._num_threads = config.num_threads or os.cpu_count() or 1
        # One for each thread that decodes; to append and to pop are atomic.
        self._spare: list[Workspace] = []

    def decode(self, log_probs: LogProbs) -> list[Hypothesis]:
        """Decode one utterance; see `Decoder.decode`.

        Where nothing can be said in vocabulary and grammar, the one hypothesis is empty and has
        probability zero.
        """
        check_form(log_probs, self._search.vocab_size)
        return self._decode_group([log_probs])[0]

    def decode_batch(
        self, log_probs: LogProbs, lengths: Sequence[int] | npt.NDArray[np.integer[Any]]
    ) -> list[list[Hypothesis]]:
        """Decode a padded batch in parallel threads; see `Decoder.decode_batch`."""
        counts = check_batch(log_probs, lengths, self._search.vocab_size)
        alone = [one[:count] for one, count in zip(log_probs, counts, strict=True)]
        return self.decode_list(alone)

    def decode_list(self, log_probs: Sequence[LogProbs]) -> list[list[Hypothesis]]:
        """Decode utterances in parallel threads, each exactly as `decode` does alone.

        Args:
            log_probs: Of each utterance, (num_frames, vocab_size).

        Raises:
            DataError: As `decode`.
        """
        for one in log_probs:
            check_form(one, self._search.vocab_size)
        num_threads = max(1, min(self._num_threads, len(log_probs)))
        groups = _groups(log_probs, num_threads)
        if num_threads == 1:
            found = [self._decode_group(group) for group in groups]
        else:
            with ThreadPoolExecutor(num_threads) as pool:
                found = list(pool.map(self._decode_group, groups))
        return [hypotheses for group in found for hypotheses in group]

    def _decode_group(self, group: Sequence[LogProbs]) -> list[list[Hypothesis]]:
        """Decode utterances one after the other: in one go if that is possible."""
        search = self._search
        if search.num_best > 1 or sum(map(np.size, group)) > MAX_VALUES:
            return [self._decode_long(one) for one in group]
        log_probs = join_log_probs(group, search.vocab_size)
        workspace = self._pop_workspace()
        found, workspace = self._whole.decode(workspace, log_probs, list(map(len, group)))
        self._spare_workspace(workspace)
        return [[best] for best in found]

    def _decode_long(self, log_probs: LogProbs) -> list[Hypothesis]:
        """Decode an utterance step by step."""
        stream = BeamStream(self._search, self._pop_workspace())
        stream.accept(log_probs)
        found = stream.finish()
        self._spare_workspace(stream.workspace)
        return found

    def _pop_workspace(self) -> Workspace:
        try:
            return self._spare.pop()
        except IndexError:
            return self._search.new_workspace()

    def _spare_workspace(self, workspace: Workspace) -> None:
        if workspace.arena.parent.size <= MAX_SPARE_CAPACITY:
            self._spare.append(workspace)

    def stream(self) -> BeamStream:
        """Begin an utterance whose log-probabilities come in chunks."""
        return BeamStream(self._search)


def _groups(log_probs: Sequence[LogProbs], num_threads: int) -> list[list[LogProbs]]:
    """Consecutive utterances that a thread decodes in one go.

    Each group has half of a thread's share of what is left, so that threads seldom meet, and end
    almost together (Polychronopoulos & Kuck, 1987, Guided self-scheduling).
    """
    left = sum(one.size for one in log_probs)
    smallest = left // (SMALLEST_SHARE * num_threads)
    groups: list[list[LogProbs]] = []
    size = limit = 0
    for one in log_probs:
        if not groups or size + one.size > limit:
            left -= size
            share = left if num_threads == 1 else max(left // (2 * num_threads), smallest)
            size, limit = 0, min(MAX_VALUES, share)
            groups.append([])
        groups[-1].append(one)
        size += one.size
    return groups
