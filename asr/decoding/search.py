"""The frame-by-frame prefix beam search (compiled); `search_state` says what it works on.

Every frame each prefix stays (by a blank, or by its last token again) or grows by a token. A grown
prefix that is in the beam already adds its paths there; any other has exactly one prefix it can
have grown from, so that nothing else needs to be merged. Order in the beam is order of arrival;
of equal ranks the earlier one stays.

References:
    Graves (2008), section 7.5.1; Hannun et al. (2014), algorithm 1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.ctc import BLANK
from asr.decoding.fusion import Fusion, extend, finish, is_complete
from asr.decoding.search_state import NONE, Arena, Beam, add_record, child_node
from asr.lm.compiled import int64, kernel

Array = npt.NDArray[Any]

# exp(-38) is less than half of what a float64 near 1 can tell apart.
NEGLIGIBLE = -38.0


class Pruning(NamedTuple):
    """See `BeamConfig`."""

    beam_width: int
    beam_threshold: float
    token_threshold: float


@kernel
def log_add(left: float, right: float) -> float:
    """log(exp(left) + exp(right))."""
    if left < right:
        left, right = right, left
    difference = right - left
    if not difference > NEGLIGIBLE:  # NaN if both are -inf
        return left
    return left + math.log1p(math.exp(difference))


@kernel
def _keep_tokens(beam: Beam, log_probs: Array, token_threshold: float) -> tuple[int, float]:
    """Fill `beam.kept`; the number of tokens in it, and what a token must have at least."""
    floor = -np.inf
    for token in range(log_probs.size):
        floor = max(floor, log_probs[token])
    floor -= token_threshold
    num_kept = 0
    for token in range(1, log_probs.size):
        if log_probs[token] >= floor and log_probs[token] > -np.inf:
            beam.kept[num_kept] = token
            num_kept += 1
    return num_kept, floor


@kernel
def _stay(old: Any, new: Any, log_probs: Array, token: int, frame: int) -> None:
    """Paths of a prefix that give it no new token; `new` is a copy of `old`."""
    new.blank = old.total + log_probs[BLANK]
    new.spoken = old.spoken + log_probs[token]
    new.best_spoken = old.best_spoken + log_probs[token]
    new.extended_from = NONE
    if old.best_blank >= old.best_spoken:
        new.best_blank = old.best_blank + log_probs[BLANK]
    else:
        new.best_blank = old.best_spoken + log_probs[BLANK]
        new.blank_record, new.blank_end = old.spoken_record, frame


@kernel
def _join(source: Any, new: Any, log_prob: float, is_repeat: bool, index: int) -> None:
    """Add the paths by which the prefix of entry `index` grows into one that is in the beam."""
    grown = (source.blank if is_repeat else source.total) + log_prob
    new.spoken = log_add(new.spoken, grown)
    best = source.best_blank if is_repeat else max(source.best_blank, source.best_spoken)
    if best + log_prob > new.best_spoken:
        new.best_spoken = best + log_prob
        new.extended_from = index


@kernel
def _stay_all(beam: Beam, arena: Arena, log_probs: Array, num_kept: int, floor: float) -> float:
    """Write every entry's next state, without new prefixes; the best rank among them."""
    row, num_entries, frame = beam.now
    old, new = beam.entries[row], beam.entries[1 - row]
    best = -np.inf
    for index in range(num_entries):
        new[index] = old[index]
        node = old[index].node
        token = arena.token[node]
        _stay(old[index], new[index], log_probs, token, frame)
        if num_kept > 0 and token != BLANK and log_probs[token] >= floor:
            source = arena.entry[arena.parent[node]]
            if source != NONE:
                beam.in_beam[source, token] = True
                is_repeat = arena.token[old[source].node] == token
                _join(old[source], new[index], log_probs[token], is_repeat, source)
        new[index].total = log_add(new[index].blank, new[index].spoken)
        new[index].rank = new[index].total + new[index].partial
        best = max(best, new[index].rank)
    return best


@kernel
def kth_highest(values: Array, k: int) -> float:
    """The k-th highest of some values, k from 1; reorders them (Hoare's quickselect)."""
    low, high, target = 0, values.size - 1, k - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if target <= right:
            high = right
        elif target >= left:
            low = left
        else:
            break
    return float(values[target])


@kernel
def _cut(beam: Beam, num_candidates: int, lowest: float, beam_width: int) -> tuple[float, int]:
    """Rank that the best `beam_width` reach, and how many with just that rank are among them.

    Counts entries and candidates of rank `lowest` or more; -inf and 0 where there is room for all.
    """
    row, num_entries, _ = beam.now
    num_ranks = 0
    for index in range(num_entries):
        if beam.entries[1 - row, index].rank >= lowest:
            beam.ranks[num_ranks] = beam.entries[1 - row, index].rank
            num_ranks += 1
    for index in range(num_candidates):
        if beam.candidates[index].rank >= lowest:
            beam.ranks[num_ranks] = beam.candidates[index].rank
            num_ranks += 1
    if num_ranks <= beam_width:
        return -np.inf, 0
    cut = kth_highest(beam.ranks[:num_ranks], beam_width)
    num_above = 0
    for index in range(num_ranks):
        num_above += beam.ranks[index] > cut
    return cut, beam_width - num_above


@kernel
def _thin_out(beam: Beam, num_candidates: int, lowest: float, beam_width: int) -> tuple[int, float]:
    """Drop candidates that cannot stay; the number left, and the rank that others must exceed."""
    row, num_entries, _ = beam.now
    cut, num_ties = _cut(beam, num_candidates, lowest, beam_width)
    for index in range(num_entries):
        num_ties -= beam.entries[1 - row, index].rank == cut
    left = 0
    for index in range(num_candidates):
        rank = beam.candidates[index].rank
        is_tie = rank == cut and num_ties > 0
        num_ties -= is_tie
        if rank >= lowest and (rank > cut or is_tie):
            beam.candidates[left] = beam.candidates[index]
            left += 1
    return left, cut


@kernel
def _grow_all(
    beam: Beam, arena: Arena, fusion: Fusion, pruning: Pruning, log_probs: Array, kept: Array
) -> int:
    """Collect the new prefixes that may stay; their number."""
    row, num_entries, _ = beam.now
    old, new = beam.entries[row], beam.entries[1 - row]
    best, worst = -np.inf, np.inf
    for index in range(num_entries):
        best, worst = max(best, new[index].rank), min(worst, new[index].rank)
    exceed = worst if num_entries >= pruning.beam_width else -np.inf
    count = 0
    for index in range(num_entries):
        source = old[index]
        last = arena.token[source.node]
        known = source.lm_score + source.hot_score + fusion.most_gain
        for token in kept:
            if beam.in_beam[index, token]:
                continue
            spoken = (source.blank if token == last else source.total) + log_probs[token]
            needed = max(exceed, best - pruning.beam_threshold)
            if spoken == -np.inf or spoken + known < needed:
                continue
            target = beam.candidates[count]
            if not extend(fusion, source, token, target):
                continue
            target.spoken, target.rank = spoken, spoken + target.partial
            target.parent, target.token = index, token
            if target.rank > exceed and target.rank >= needed:
                best = max(best, target.rank)
                count += 1
            if count == beam.candidates.size:
                lowest = best - pruning.beam_threshold
                count, cut = _thin_out(beam, count, lowest, pruning.beam_width)
                exceed = max(exceed, cut)
    return count


@kernel
def _record(arena: Arena, source: Any, is_repeat: bool, frame: int) -> int:
    """Record of a token that begins in `frame` after the best path of `source`."""
    if is_repeat or source.best_blank >= source.best_spoken:
        return add_record(arena, source.blank_record, frame, int64(source.blank_end))
    return add_record(arena, source.spoken_record, frame, frame)


@kernel
def _add_entry(beam: Beam, arena: Arena, candidate: Any, log_probs: Array, index: int) -> None:
    """Make a candidate the entry `index` of the next frame."""
    row, _, frame = beam.now
    source, new = beam.entries[row, candidate.parent], beam.entries[1 - row, index]
    token = candidate.token
    is_repeat = arena.token[source.node] == token
    best = source.best_blank if is_repeat else max(source.best_blank, source.best_spoken)
    new.lm_score, new.lm_state = candidate.lm_score, candidate.lm_state
    new.hot_score, new.hot_node = candidate.hot_score, candidate.hot_node
    new.lexicon_node, new.grammar_state = candidate.lexicon_node, candidate.grammar_state
    new.blank, new.best_blank = -np.inf, -np.inf
    new.spoken, new.total = candidate.spoken, candidate.spoken
    new.partial, new.rank = candidate.partial, candidate.rank
    new.best_spoken = best + log_probs[token]
    new.node = child_node(arena, source.node, token)
    new.spoken_record = _record(arena, source, is_repeat, frame)
    new.blank_record, new.blank_end, new.extended_from = NONE, 0, NONE


@kernel
def _best_complete(beam: Beam, fusion: Fusion) -> int:
    """Entry with a place of its own: where not all may be the end, the best that may."""
    row, num_entries, _ = beam.now
    found, best = -1, -np.inf
    if fusion.is_closed or fusion.has_grammar:
        for index in range(num_entries):
            entry = beam.entries[1 - row, index]
            is_end = is_complete(fusion, entry.lexicon_node, entry.grammar_state)
            if entry.rank > best and is_end:
                found, best = index, entry.rank
    return found


@kernel
def _choose(
    beam: Beam,
    arena: Arena,
    fusion: Fusion,
    pruning: Pruning,
    log_probs: Array,
    num_candidates: int,
) -> None:
    """Keep the best entries and candidates as the beam of the next frame."""
    row, num_entries, frame = beam.now
    old, new = beam.entries[row], beam.entries[1 - row]
    best = -np.inf
    for index in range(num_entries):
        best = max(best, new[index].rank)
        arena.entry[old[index].node] = NONE
    for index in range(num_candidates):
        best = max(best, beam.candidates[index].rank)
    lowest = best - pruning.beam_threshold
    cut, num_ties = _cut(beam, num_candidates, lowest, pruning.beam_width)
    guarded = _best_complete(beam, fusion)
    count = int64(0)
    for index in range(num_entries):
        rank = new[index].rank
        is_tie = rank == cut and num_ties > 0
        num_ties -= is_tie
        if index == guarded or (rank >= lowest and (rank > cut or is_tie)):
            new[count] = new[index]
            if new[count].extended_from != NONE:
                source = old[new[count].extended_from]
                is_repeat = arena.token[source.node] == arena.token[new[count].node]
                new[count].spoken_record = _record(arena, source, is_repeat, frame)
            count += 1
    for index in range(num_candidates):
        rank = beam.candidates[index].rank
        is_tie = rank == cut and num_ties > 0
        num_ties -= is_tie
        if rank >= lowest and (rank > cut or is_tie):
            _add_entry(beam, arena, beam.candidates[index], log_probs, count)
            count += 1
    for index in range(count):
        arena.entry[new[index].node] = index
    beam.now[0], beam.now[1], beam.now[2] = 1 - row, count, frame + 1


@kernel
def _unmark(beam: Beam, arena: Arena) -> None:
    """Clear `beam.in_beam` again, where `_stay_all` has set it."""
    row, num_entries, _ = beam.now
    for index in range(num_entries):
        node = beam.entries[row, index].node
        if arena.token[node] != BLANK and arena.entry[arena.parent[node]] != NONE:
            beam.in_beam[arena.entry[arena.parent[node]], arena.token[node]] = False


@kernel
def advance_frames(
    beam: Beam, arena: Arena, fusion: Fusion, pruning: Pruning, log_probs: Array
) -> int:
    """Search on through (num_frames, vocab_size) float64 log-probabilities.

    Returns:
        The number of frames done; fewer than there are when the arena could not hold another one.
    """
    for index in range(len(log_probs)):
        room = arena.parent.size - max(arena.used[0], arena.used[1])
        if room <= pruning.beam_width:
            return index
        frame = log_probs[index]
        num_kept, floor = _keep_tokens(beam, frame, pruning.token_threshold)
        _stay_all(beam, arena, frame, num_kept, floor)
        count = 0
        if num_kept > 0:
            count = _grow_all(beam, arena, fusion, pruning, frame, beam.kept[:num_kept])
            _unmark(beam, arena)
        _choose(beam, arena, fusion, pruning, frame, count)
    return len(log_probs)


@kernel
def finish_all(fusion: Fusion, entries: Array, scratch: Array) -> int:
    """Replace the partial scores by final ones, and set ranks; -inf where an entry cannot end.

    Args:
        fusion: What is known beside the sound.
        entries: Of the beam.
        scratch: (1 or more,) candidates, overwritten: knowledge is worked out in records of one
            type, so that it is compiled once.

    Returns:
        How many can end.
    """
    count = 0
    for index in range(entries.size):
        entry, target = entries[index], scratch[0]
        is_possible = True
        if fusion.is_active:
            is_possible = finish(fusion, entry, target)
            entry.partial = target.partial
        entry.total = min(entry.total, 0.0)  # rounding of `log_probs` can add up
        entry.rank = entry.total + entry.partial if is_possible else -np.inf
        count += entry.rank > -np.inf  # a beam can keep what has become impossible
    return count
