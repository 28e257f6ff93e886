"""The search over tensors: one frame of all utterances and prefixes at a time, in fixed shapes.

The host never waits for the device between frames. Each frame every prefix stays, or grows by a
token. A prefix is known by a 64-bit hash of its tokens: one that grows into a prefix of the beam,
whose parent's hash is its own, adds its paths there; all others are new and distinct. Two prefixes
are mistaken for each other with a probability of about beam_width² × num_frames / 2^64 an
utterance: 5e-13 for a beam of 100 over 1,000 frames.

Sums are float64 whatever the emissions are: in float32 the log-probability of a minute of audio is
rounded by about 1e-4, enough to reorder prefixes. Devices without float64 (MPS) cannot be used.

A frame takes some 160 operations, 230 with a language model, however large the batch: on a GPU,
which must be told of each, large batches pay. Memory is 16 bytes × batch × max_frames × beam_width
for the way back, and the work of one frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from asr.ctc import BLANK
from asr.tensor_decoding.token_lm import TokenLm

# Hashes of the empty prefix, of its parent, and of places in the beam that hold no prefix.
ROOT_HASH, NO_PARENT, NO_PREFIX = 0, 1, 2
# Odd numbers of splitmix64 (Steele, Lea & Flood, 2014), as signed integers.
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST_FACTOR = 0xBF58476D1CE4E5B9 - 2**64
SECOND_FACTOR = 0x94D049BB133111EB - 2**64
# The table of ways back holds the state before in the low bits, the token of the frame above them.
TOKEN_SHIFT = 32


@dataclass(frozen=True)
class TensorHypotheses:
    """The best prefixes of a batch, best first and distinct as tokens, on the emissions' device.

    Where a beam holds fewer, the rest have no tokens and the score -inf.

    Attributes:
        tokens: (batch, num_best, max_frames) int64, blanks after the last token.
        lengths: (batch, num_best) int64, tokens of each.
        acoustic_log_probs: (batch, num_best) float64, natural log, summed over the paths found.
        lm_log_probs: (batch, num_best) float64, what the language model added, weight included.
        paths: (batch, num_best, max_frames) int64, the token or blank of every frame on the best
            path; blanks after the last frame.
    """

    tokens: Tensor
    lengths: Tensor
    acoustic_log_probs: Tensor
    lm_log_probs: Tensor
    paths: Tensor

    @property
    def scores(self) -> Tensor:
        """(batch, num_best) float64, what hypotheses are ranked by."""
        return self.acoustic_log_probs + self.lm_log_probs


class Frame(NamedTuple):
    """One frame of every utterance.

    Fields:
        log_probs: (batch, vocab_size).
        tokens: (batch, num_tokens) int64, those that may lengthen prefixes, rising.
        token_log_probs: (batch, num_tokens) float64; -inf for those that may not after all.
    """

    log_probs: Tensor
    tokens: Tensor
    token_log_probs: Tensor


class Beam(NamedTuple):
    """The prefixes of every utterance, all (batch, beam_width), in order of their arrival.

    Fields:
        blank, spoken, total: float64, sums over the paths that end in a blank, in the last token,
            in either; -inf where there is no prefix.
        best_blank, best_spoken: float64, the best of these paths.
        last: int64, the last token; the blank for the empty prefix and where there is none.
        hash, parent_hash: int64, of the prefix, and of the prefix without its last token.
        lm_score: float64, weighted natural log.
        lm_state: int64.
    """

    blank: Tensor
    spoken: Tensor
    total: Tensor
    best_blank: Tensor
    best_spoken: Tensor
    last: Tensor
    hash: Tensor
    parent_hash: Tensor
    lm_score: Tensor
    lm_state: Tensor


class Best(NamedTuple):
    """Best path of every prefix: its log-probability, and the state where it ends.

    State 2 i is the prefix i after a blank, 2 i + 1 the prefix i after its last token.
    """

    log_prob: Tensor
    state: Tensor


class Joins(NamedTuple):
    """Prefixes that grow into others of the beam, by these others; all (batch, beam_width).

    Fields:
        source: int64, the one that grows; anything where `is_join` is False.
        place: int64, where the token stands in `Frame.tokens`.
        is_join: bool, whether there is such a prefix and its token may lengthen it.
    """

    source: Tensor
    place: Tensor
    is_join: Tensor


class Chosen(NamedTuple):
    """The prefixes of the next beam; all (batch, beam_width).

    Fields:
        place: int64, among those that stay and those that grow.
        is_prefix: bool, False where the beam has room for more.
        is_new: bool, whether it grows; True where there is no prefix.
        source: int64, what it grows from, or itself.
        token, token_log_prob: int64 and float64, what it grows by.
    """

    place: Tensor
    is_prefix: Tensor
    is_new: Tensor
    source: Tensor
    token: Tensor
    token_log_prob: Tensor


@dataclass(frozen=True)
class TensorPruning:
    """See `TensorBeamConfig`."""

    beam_width: int
    beam_threshold: float
    token_threshold: float
    max_tokens_per_frame: int


def search(
    log_probs: Tensor,
    lengths: Tensor,
    pruning: TensorPruning,
    lm: TokenLm | None,
    num_best: int | None,
) -> TensorHypotheses:
    """Search through a batch.

    Args:
        log_probs: (batch, max_frames, vocab_size), checked; padding may hold anything.
        lengths: (batch,) integers in [0, max_frames].
        pruning: How wide to search.
        lm: On the device of `log_probs`.
        num_best: Prefixes to trace back; None for all of the beam.
    """
    batch, max_frames, vocab_size = log_probs.shape
    frames = torch.arange(max_frames, device=log_probs.device)
    is_frame = (frames < lengths[:, None])[..., None]
    # Padding becomes a certain blank, which changes no sum, no order and no best path.
    blank = torch.full((vocab_size,), -math.inf, dtype=log_probs.dtype, device=log_probs.device)
    blank[BLANK] = 0.0
    tokens, token_log_probs = _keep_tokens(log_probs, is_frame, pruning)
    beam = _first_beam((batch, pruning.beam_width), log_probs.device, lm.start if lm else 0)
    back = beam.last.new_empty(max_frames, *beam.last.shape, 2)
    for index in range(max_frames):
        heard = torch.where(is_frame[:, index], log_probs[:, index], blank)
        frame = Frame(heard, tokens[index], token_log_probs[index])
        beam = _advance(beam, frame, lm, pruning.beam_threshold, back[index])
    return _best(beam, back, lm, num_best)


def _keep_tokens(
    log_probs: Tensor, is_frame: Tensor, pruning: TensorPruning
) -> tuple[Tensor, Tensor]:
    """`Frame.tokens` and `Frame.token_log_probs` of all frames: (max_frames, batch, num_tokens).

    As many as are needed in the frame that needs most; the host waits for that number.
    """
    limit = min(pruning.max_tokens_per_frame, log_probs.shape[2] - 1)
    values, tokens = log_probs[..., BLANK + 1 :].topk(limit, dim=2)
    values = values.double()
    floor = log_probs.amax(dim=2, keepdim=True).double() - pruning.token_threshold
    is_kept = (values >= floor) & (values > -math.inf) & is_frame
    num_tokens = max(1, int(is_kept.any(dim=0).any(dim=0).sum()))
    values = torch.where(is_kept, values, -math.inf)[..., :num_tokens]
    tokens, order = (tokens[..., :num_tokens] + BLANK + 1).sort(dim=2)
    values = values.gather(2, order)
    return tokens.transpose(0, 1).contiguous(), values.transpose(0, 1).contiguous()


def _first_beam(shape: tuple[int, int], device: torch.device, lm_start: int) -> Beam:
    """Every beam holds the empty prefix alone."""

    def place(first: float, rest: float, dtype: torch.dtype) -> Tensor:
        values = torch.full(shape, rest, dtype=dtype)
        values[:, :1] = first
        return values.to(device)

    real, whole = torch.float64, torch.int64
    return Beam(
        blank=place(0.0, -math.inf, real),
        spoken=place(-math.inf, -math.inf, real),
        total=place(0.0, -math.inf, real),
        best_blank=place(0.0, -math.inf, real),
        best_spoken=place(-math.inf, -math.inf, real),
        last=place(BLANK, BLANK, whole),
        hash=place(ROOT_HASH, NO_PREFIX, whole),
        parent_hash=place(NO_PARENT, NO_PARENT, whole),
        lm_score=place(0.0, 0.0, real),
        lm_state=place(lm_start, 0, whole),
    )


def _grown_hash(prefix: Tensor, token: Tensor) -> Tensor:
    """Hash of prefixes that grow by a token: splitmix64's mixing, modulo 2^64."""
    mixed = (prefix ^ (token * GOLDEN)) + GOLDEN
    mixed = (mixed ^ ((mixed >> 30) & (2**34 - 1))) * FIRST_FACTOR
    mixed = (mixed ^ ((mixed >> 27) & (2**37 - 1))) * SECOND_FACTOR
    return mixed ^ ((mixed >> 31) & (2**33 - 1))


def _log_add(left: Tensor, right: Tensor) -> Tensor:
    """log(exp(left) + exp(right)), the same to the bit wherever a value stands.

    `torch.logaddexp` rounds the last few values of a tensor differently on CPUs, so that a batch
    would not equal its utterances alone.
    """
    high = torch.maximum(left, right)
    # NaN if both are -inf, whose sum is -inf.
    low = (torch.minimum(left, right) - high).nan_to_num_(nan=-math.inf, neginf=-math.inf)
    return high + low.exp_().log1p_()


def _best_paths(beam: Beam) -> Best:
    """Best path to every prefix however it ends, after a blank if both are equal."""
    slots = torch.arange(beam.last.shape[1], device=beam.last.device)
    state = 2 * slots + (beam.best_spoken > beam.best_blank)
    return Best(torch.maximum(beam.best_blank, beam.best_spoken), state)


def _find_joins(beam: Beam, frame: Frame) -> Joins:
    last_place = beam.last.shape[1] - 1
    hashes, order = beam.hash.sort(dim=1)
    found = torch.searchsorted(hashes, beam.parent_hash).clamp_(max=last_place)
    is_join = (hashes.gather(1, found) == beam.parent_hash) & (beam.last != BLANK)
    place = torch.searchsorted(frame.tokens, beam.last).clamp_(max=frame.tokens.shape[1] - 1)
    is_join &= frame.tokens.gather(1, place) == beam.last
    return Joins(order.gather(1, found), place, is_join)


def _stay(beam: Beam, frame: Frame, best: Best, joins: Joins) -> tuple[Beam, Tensor]:
    """The same prefixes one frame on, and the states before their best spoken paths."""
    slots = torch.arange(beam.last.shape[1], device=beam.last.device)
    blank = frame.log_probs[:, BLANK : BLANK + 1].double()
    repeated = frame.log_probs.gather(1, beam.last).double()
    joining = torch.where(joins.is_join, frame.token_log_probs.gather(1, joins.place), -math.inf)
    # A token that is said again as another one needs a blank before it.
    again = beam.last.gather(1, joins.source) == beam.last
    sums = torch.where(
        again, beam.blank.gather(1, joins.source), beam.total.gather(1, joins.source)
    )
    paths = torch.where(
        again, beam.best_blank.gather(1, joins.source), best.log_prob.gather(1, joins.source)
    )
    origin = torch.where(again, 2 * joins.source, best.state.gather(1, joins.source))
    best_spoken = beam.best_spoken + repeated
    is_better = paths + joining > best_spoken
    new_blank = beam.total + blank
    spoken = _log_add(beam.spoken + repeated, sums + joining)
    stayed = beam._replace(
        blank=new_blank,
        spoken=spoken,
        total=_log_add(new_blank, spoken),
        best_blank=best.log_prob + blank,
        best_spoken=torch.where(is_better, paths + joining, best_spoken),
    )
    return stayed, torch.where(is_better, origin, 2 * slots + 1)


def _grow(beam: Beam, frame: Frame, joins: Joins) -> Tensor:
    """Sums of the prefixes grown by each token, (batch, beam_width × num_tokens).

    What joins a prefix of the beam is -inf here.
    """
    num_tokens = frame.tokens.shape[1]
    again = frame.tokens[:, None, :] == beam.last[:, :, None]
    before = torch.where(again, beam.blank[..., None], beam.total[..., None])
    grown = (before + frame.token_log_probs[:, None, :]).flatten(1)
    # One place more, for what is no join.
    grown = torch.nn.functional.pad(grown, (0, 1))
    place = torch.where(joins.is_join, joins.source * num_tokens + joins.place, grown.shape[1] - 1)
    return grown.scatter_(1, place, -math.inf)[:, :-1]


def _choose(ranks: Tensor, width: int, threshold: float) -> tuple[Tensor, Tensor]:
    """The places of the `width` highest ranks, earlier ones first among equals.

    Returns:
        (batch, width) places, rising, and whether there is one: none for ranks of -inf and such as
        lie more than `threshold` below the best.
    """
    lowest = ranks.amax(dim=1, keepdim=True) - threshold
    ranks = torch.where(ranks >= lowest, ranks, -math.inf)
    cut = ranks.topk(width, dim=1).values[:, -1:]
    is_above = ranks > cut
    is_equal = (ranks == cut) & (cut > -math.inf)
    room = width - is_above.sum(dim=1, keepdim=True)
    is_chosen = is_above | (is_equal & (is_equal.cumsum(dim=1) <= room))
    number = is_chosen.cumsum(dim=1)
    places = torch.arange(1, width + 1, device=ranks.device).expand(len(ranks), -1).contiguous()
    chosen = torch.searchsorted(number, places)
    return chosen.clamp(max=ranks.shape[1] - 1), places <= number[:, -1:]


def _unfold(place: Tensor, is_prefix: Tensor, width: int, frame: Frame) -> Chosen:
    """What the places of `_choose` mean: `width` prefixes that stay, then all that grow."""
    num_tokens = frame.tokens.shape[1]
    is_new, grown = place >= width, (place - width).clamp(min=0)
    source = torch.where(is_new, grown // num_tokens, place)
    number = grown % num_tokens
    token, log_prob = frame.tokens.gather(1, number), frame.token_log_probs.gather(1, number)
    return Chosen(place, is_prefix, is_new, source, token, log_prob)


def _advance(beam: Beam, frame: Frame, lm: TokenLm | None, threshold: float, back: Tensor) -> Beam:
    """The beam one frame on; fills `back`, (batch, beam_width, 2), with the states before."""
    best, joins, width = _best_paths(beam), _find_joins(beam, frame), beam.last.shape[1]
    stayed, origin = _stay(beam, frame, best, joins)
    sums = torch.cat([stayed.total, _grow(beam, frame, joins)], 1)
    scores, states = _ask_lm(beam, lm, frame.tokens)
    chosen = _unfold(*_choose(sums + scores, width, threshold), width, frame)
    new, begun_from = _follow(beam, stayed, best, chosen)
    total = torch.where(chosen.is_prefix, sums.gather(1, chosen.place), -math.inf)
    stay_origin = origin.gather(1, chosen.source)
    back[..., 0] = best.state.gather(1, chosen.source)  # of no use where a prefix is new
    back[..., 1] = torch.where(chosen.is_new, begun_from, stay_origin) | (new.last << TOKEN_SHIFT)
    return new._replace(
        spoken=torch.where(chosen.is_new, total, new.spoken),
        total=total,
        lm_score=scores.gather(1, chosen.place),
        lm_state=states.gather(1, chosen.place),
    )


def _follow(beam: Beam, stayed: Beam, best: Best, chosen: Chosen) -> tuple[Beam, Tensor]:
    """The chosen prefixes but for sums and language model; the states before their new tokens."""
    _, is_prefix, is_new, source, token, log_prob = chosen
    old = Beam(*(values.gather(1, source) for values in stayed))
    again = token == old.last
    path = torch.where(again, beam.best_blank.gather(1, source), best.log_prob.gather(1, source))
    hashes = torch.where(is_new, _grown_hash(old.hash, token), old.hash)
    new = old._replace(
        blank=torch.where(is_new, -math.inf, old.blank),
        best_blank=torch.where(is_new, -math.inf, old.best_blank),
        best_spoken=torch.where(is_new, path + log_prob, old.best_spoken),
        last=torch.where(is_prefix, torch.where(is_new, token, old.last), BLANK),
        hash=torch.where(is_prefix, hashes, NO_PREFIX),
        parent_hash=torch.where(is_new, old.hash, old.parent_hash),
    )
    return new, torch.where(again, 2 * source, best.state.gather(1, source))


def _ask_lm(beam: Beam, lm: TokenLm | None, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Score and state of the prefixes as they are, then of each grown by each token."""
    if lm is None:  # every score and every state is 0
        size = beam.last.shape[1] * (1 + tokens.shape[1])
        return beam.lm_score[:, :1].expand(-1, size), beam.lm_state[:, :1].expand(-1, size)
    added, states = lm.extend(beam.lm_state, beam.last, tokens)
    scores = (beam.lm_score[..., None] + added).flatten(1)
    return torch.cat([beam.lm_score, scores], 1), torch.cat([beam.lm_state, states.flatten(1)], 1)


def _best(beam: Beam, back: Tensor, lm: TokenLm | None, num_best: int | None) -> TensorHypotheses:
    """The best prefixes as whole utterances, traced through `back`, (max_frames, batch, …)."""
    acoustic, lm_scores = beam.total.clamp(max=0.0), beam.lm_score  # rounding can add up
    if lm is not None and lm.eos >= 0:
        lm_scores = lm_scores + lm.finish(beam.lm_state)
    ranks = acoustic + lm_scores
    order = ranks.sort(dim=1, descending=True, stable=True).indices[:, :num_best]
    acoustic, lm_scores = acoustic.gather(1, order), lm_scores.gather(1, order)
    state = _best_paths(beam).state.gather(1, order)
    traced = back.new_empty(len(back), *order.shape)
    for index in reversed(range(len(back))):
        traced[index] = back[index].flatten(1).gather(1, state)
        state = traced[index] & (2**TOKEN_SHIFT - 1)
    paths = (traced >> TOKEN_SHIFT).permute(1, 2, 0)
    paths = torch.where(acoustic[..., None] > -math.inf, paths, BLANK)
    return TensorHypotheses(*_collapse(paths), acoustic, lm_scores, paths)


def _collapse(paths: Tensor) -> tuple[Tensor, Tensor]:
    """`asr.ctc.collapse` of (batch, num_best, max_frames) paths: tokens of that shape, lengths."""
    num_frames = paths.shape[2]
    before = torch.nn.functional.pad(paths, (1, 0), value=BLANK)[..., :-1]
    begins = (paths != before) & (paths != BLANK)
    number = begins.cumsum(dim=2)
    # One place more, for frames where no token begins.
    tokens = paths.new_full((*paths.shape[:2], num_frames + 1), BLANK)
    tokens.scatter_(2, torch.where(begins, number - 1, num_frames), paths)
    return tokens[..., :num_frames], begins.sum(dim=2)
