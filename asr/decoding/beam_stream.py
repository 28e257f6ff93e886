"""One utterance on its way through the beam search, chunk by chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from asr.decoding.checks import CHUNK_FRAMES, check_log_probs, require_unfinished
from asr.decoding.confidence import NUM_FEATURES, frame_entropies
from asr.decoding.reading import NOTHING, FinalBeam, Search, read_features, read_hypotheses
from asr.decoding.search import advance_frames, finish_all
from asr.decoding.search_state import (
    Workspace,
    begin,
    collect,
)
from asr.decoding.types import Hypothesis, LogProbs

Array = npt.NDArray[Any]


class BeamStream:
    """One utterance while it is being said; made by `BeamDecoder.stream`. See `Stream`."""

    def __init__(self, search: Search, workspace: Workspace | None = None) -> None:
        self._search = search
        self._beam, self._arena = workspace or search.new_workspace()
        begin(self._beam, self._arena, search.start)
        self._entropies = [np.empty(0, np.float32)]
        self._is_finished = False

    @property
    def num_frames(self) -> int:
        """Frames accepted so far."""
        return int(self._beam.now[2])

    @property
    def workspace(self) -> Workspace:
        """What it works in; free for another utterance when this one is finished with."""
        return Workspace(self._beam, self._arena)

    def accept(self, log_probs: LogProbs) -> None:
        """Search on; see `Stream.accept`."""
        require_unfinished(self._is_finished)
        check_log_probs(log_probs, self._search.vocab_size)
        for first in range(0, len(log_probs), CHUNK_FRAMES):
            chunk = log_probs[first : first + CHUNK_FRAMES]
            self._accept(np.ascontiguousarray(chunk, dtype=np.float64))

    def partial(self) -> Hypothesis:
        """The best reading of what was accepted so far, as if it were all."""
        return self._hypotheses(num_best=1)[0]

    def finish(self) -> list[Hypothesis]:
        """End the utterance; see `Stream.finish`."""
        self._is_finished = True
        return self._hypotheses(self._search.num_best)

    def _accept(self, chunk: Array) -> None:
        self._entropies.append(frame_entropies(chunk))
        search, done = self._search, 0
        while True:
            done += advance_frames(
                self._beam, self._arena, search.fusion, search.pruning, chunk[done:]
            )
            if done == len(chunk):
                return
            self._arena = collect(self._arena, self._beam)

    def word_features(self) -> Array:
        """What `calibration.fit_calibration` learns from, of the best reading of what was accepted.

        Returns:
            (num_words, NUM_FEATURES) of `confidence.word_features`, one row a word of `partial`.
        """
        final = self._final()
        if final is None:
            return np.empty((0, NUM_FEATURES))
        return read_features(self._search.script, final)

    def _hypotheses(self, num_best: int) -> list[Hypothesis]:
        final = self._final()
        if final is None:
            return [NOTHING]
        return read_hypotheses(self._search.script, final, num_best)

    def _final(self) -> FinalBeam | None:
        """The beam as if all had been said; None where nothing may end here."""
        row, num_entries, _ = self._beam.now
        entries = self._beam.entries[row, :num_entries].copy()
        if finish_all(self._search.fusion, entries, self._beam.candidates) == 0:
            return None
        entries = entries[np.argsort(-entries["rank"], kind="stable")]
        return FinalBeam(self._arena, entries, np.concatenate(self._entropies))
