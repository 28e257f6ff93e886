"""Splits: disjoint, deterministic, near the fraction asked for, and refused where impossible."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.config import parse_options
from asr.corpora.listing import Entry
from asr.corpora.splits import (
    SplitBy,
    SplitOptions,
    check_disjoint,
    complete_splits,
    hold_out,
    main_split,
)
from asr.errors import ConfigError, DataError

SPEAKER_SIZES = st.lists(st.integers(1, 9), min_size=2, max_size=12)


def entries_of(sizes: list[int]) -> list[Entry]:
    """Utterances of speakers a, b, c…, as many as `sizes` says of each."""
    return [
        entry(f"{speaker}-{number}", chr(ord("a") + speaker))
        for speaker, size in enumerate(sizes)
        for number in range(size)
    ]


def entry(name: str, speaker: str | None = None, path: str | None = None) -> Entry:
    return Entry(name, Path(path or f"{name}.wav"), "text", speaker)


def ids(entries: list[Entry]) -> set[str]:
    return {one.id for one in entries}


def speakers(entries: list[Entry]) -> set[str | None]:
    return {one.speaker for one in entries}


@given(sizes=SPEAKER_SIZES, share=st.floats(0.01, 0.9))
def test_hold_out_divides_by_whole_speakers(sizes: list[int], share: float) -> None:
    entries = entries_of(sizes)
    kept, held = hold_out(entries, share * len(entries), "speaker")
    assert kept and held
    assert sorted(one.id for one in kept + held) == sorted(one.id for one in entries)
    assert not speakers(kept) & speakers(held)


@given(sizes=SPEAKER_SIZES, share=st.floats(0.05, 0.5), randomness=st.randoms())
def test_hold_out_does_not_depend_on_the_order(
    sizes: list[int], share: float, randomness: st.DataObject
) -> None:
    entries = entries_of(sizes)
    shuffled = list(entries)
    randomness.shuffle(shuffled)
    target = share * len(entries)
    assert ids(hold_out(entries, target, "speaker")[1]) == ids(
        hold_out(shuffled, target, "speaker")[1]
    )


@given(num_speakers=st.integers(3, 40), size=st.integers(1, 20), share=st.floats(0.05, 0.5))
def test_hold_out_is_within_half_a_speaker(num_speakers: int, size: int, share: float) -> None:
    target = share * num_speakers * size
    _, held = hold_out(entries_of([size] * num_speakers), target, "speaker")
    assert len(held) == size or abs(len(held) - target) <= size / 2 + 1e-9


def test_hold_out_is_the_same_on_every_machine() -> None:
    # By hand: `printf a | sha256sum` and so on begin with
    # ca97 (a), 3e23 (b), 2e7d (c), 18ac (d), 3f79 (e): the order is d, c, b, e, a.
    _, held = hold_out(entries_of([1] * 5), 2, "speaker")
    assert speakers(held) == {"d", "c"}


def test_a_large_first_speaker_is_passed_over() -> None:
    # d comes first by hash but is far larger than the target; c and b fit.
    _, held = hold_out(entries_of([5, 1, 1, 50, 5]), 2, "speaker")
    assert speakers(held) == {"c", "b"}


def test_at_least_the_smallest_speaker_is_held_out() -> None:
    _, held = hold_out(entries_of([9, 8, 7]), 1, "speaker")
    assert speakers(held) == {"c"}


def test_one_speaker_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="all are of one speaker") as caught:
        hold_out(entries_of([5]), 1, "speaker")
    assert caught.value.hint is not None
    assert "--split-by utterance" in caught.value.hint


def test_one_utterance_cannot_be_divided() -> None:
    with pytest.raises(
        DataError, match="cannot hold 1 of 1 out: all are of one recording"
    ) as caught:
        hold_out([entry("a")], 0.1, "recording")
    assert caught.value.hint == "set --dev-fraction and --test-fraction to 0"


@pytest.mark.parametrize(
    ("by", "num_each", "what"),
    [
        ("recording", 1, "2 utterances of 2 recordings: after test, one recording is left"),
        ("recording", 2, "4 utterances of 2 recordings: after test, one recording is left"),
        ("utterance", 1, "2 utterances: after test, one utterance is left"),
    ],
)
def test_one_recording_for_each_of_two_splits_leaves_none(
    by: SplitBy, num_each: int, what: str
) -> None:
    entries = [entry(f"{path}{n}", path=f"{path}.wav") for path in "ab" for n in range(num_each)]
    message = f"cannot hold test and dev out of {what}, and train needs it"
    with pytest.raises(DataError, match=message) as caught:
        complete_splits({"train": entries}, SplitOptions(split_by=by))
    other = "use --split-by utterance, or " if num_each > 1 else ""
    assert caught.value.hint == f"{other}set --dev-fraction or --test-fraction to 0"


@pytest.mark.parametrize(("by", "num_held"), [("recording", 3), ("utterance", 1)])
def test_utterances_of_one_recording_stay_together(by: SplitBy, num_held: int) -> None:
    entries = [
        entry(f"{recording}-{number}", path=f"{recording}.wav")
        for recording in "pqrs"
        for number in range(3)
    ]
    _, held = hold_out(entries, 1 if by == "utterance" else 2, by)
    assert len(held) == num_held
    assert len({one.audio_path for one in held}) == 1


def test_recordings_divide_alike_wherever_they_lie() -> None:
    here = [entry(name, path=f"/here/{name}.wav") for name in "abcdefgh"]
    there = [entry(name, path=f"/mnt/other/{name}.wav") for name in "abcdefgh"]
    assert ids(hold_out(here, 3, "recording")[1]) == ids(hold_out(there, 3, "recording")[1])


def test_complete_splits_takes_test_and_dev_from_train() -> None:
    splits = complete_splits({"train": entries_of([5] * 20)}, SplitOptions())
    assert {name: len(entries) for name, entries in splits.items()} == {
        "train": 80,
        "dev": 10,
        "test": 10,
    }
    check_disjoint(splits, speakers_shared=False)


def test_given_splits_are_kept() -> None:
    train, test = entries_of([4] * 10), [entry("x", "zoe")]
    splits = complete_splits({"train": train, "test": test}, SplitOptions())
    assert splits["test"] == test
    assert len(splits["dev"]) == 4


def test_a_test_set_alone_stays_whole() -> None:
    test = entries_of([4] * 10)
    assert complete_splits({"test": test}, SplitOptions()) == {"test": test}


def test_fraction_zero_holds_nothing_out() -> None:
    options = SplitOptions(dev_fraction=0, test_fraction=0)
    assert set(complete_splits({"train": entries_of([4])}, options)) == {"train"}


def test_some_speakers_unknown_is_refused() -> None:
    entries = [entry("a", "anna"), entry("b"), entry("c", "carl")]
    with pytest.raises(DataError, match=r"1 utterance \(first: 'b'\) of 3 without a speaker"):
        complete_splits({"train": entries}, SplitOptions())
    complete_splits({"train": entries}, SplitOptions(split_by="utterance"))


def test_splits_by_speaker_need_speakers() -> None:
    entries = [entry(name) for name in "abc"]
    options = SplitOptions(split_by="speaker")
    with pytest.raises(ConfigError, match="not possible: no speaker is known") as caught:
        complete_splits({"train": entries}, options)
    assert "--speaker-folders" in str(caught.value.hint)
    with pytest.raises(DataError, match=r"2 utterances \(first: 'a'\) of 3 without a speaker"):
        complete_splits({"train": [*entries[:2], entry("c", "carl")]}, options)


def test_fractions_must_leave_training_data() -> None:
    values = {"dev_fraction": 0.5, "test_fraction": 0.5}
    with pytest.raises(ConfigError, match=r"^options: dev_fraction and test_fraction must"):
        parse_options(SplitOptions, values, "options")


@pytest.mark.parametrize(
    ("splits", "where"),
    [
        ({"train": [entry("a")], "test": [entry("a")]}, "in train and in test"),
        ({"train": [entry("a"), entry("a")]}, "twice in train"),
        ({"test-clean": [entry("a")], "test-other": [entry("a")]}, "in test-clean and in"),
    ],
)
def test_an_id_twice_is_refused(splits: dict[str, list[Entry]], where: str) -> None:
    with pytest.raises(DataError, match=f"'a' is {where}"):
        check_disjoint(splits, speakers_shared=True)


def test_files_of_one_id_are_named() -> None:
    two = [entry("a", path="a.wav"), entry("a", path="a.flac")]
    with pytest.raises(DataError, match=r"train \(a\.flac and a\.wav\); ids") as caught:
        check_disjoint({"train": two}, speakers_shared=True)
    assert caught.value.hint == "rename or remove one of the two files"
    one = [entry("a", path="x.wav"), entry("a", path="x.wav")]
    with pytest.raises(DataError, match=r"train \(x\.wav\); ids") as caught:
        check_disjoint({"train": one}, speakers_shared=True)
    assert caught.value.hint is None


def test_a_speaker_in_two_splits_is_refused_unless_accepted() -> None:
    splits = {"train": [entry("a", "anna")], "test-x": [entry("b", "anna"), entry("c", "bob")]}
    with pytest.raises(DataError, match=r"share 1 speaker \(first: 'anna'\)"):
        check_disjoint(splits, speakers_shared=False)
    check_disjoint(splits, speakers_shared=True)


def test_unknown_speakers_and_parts_of_one_split_may_share() -> None:
    check_disjoint({"train": [entry("a")], "test": [entry("b")]}, speakers_shared=False)
    parts = {"test-clean": [entry("a", "anna")], "test-other": [entry("b", "anna")]}
    check_disjoint(parts, speakers_shared=False)


def test_main_split() -> None:
    assert [main_split(name) for name in ("train-clean-100", "dev")] == ["train", "dev"]
