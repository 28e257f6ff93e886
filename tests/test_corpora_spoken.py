"""Spoken sentences: who says what, letters by name, and nothing spoken twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.audio import probe_audio
from asr.config import parse_options
from asr.corpora import prepare, spoken
from asr.corpora.spoken import SpokenOptions, read_sentences, spell_out
from asr.corpora.synthetic import split_families
from asr.errors import ConfigError, DataError
from asr.manifest import Problem, Utterance
from asr.synthesis import Voice, synthesize

pytest.importorskip("espeakng_loader", reason="speaking needs the extra 'demo'")

LINES = [f"open the {thing}" for thing in ("door", "window", "box", "gate", "book", "tin")]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write(tmp_path / "text.txt", LINES)


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def make(text: Path, name: str = "out", **options: object) -> dict[str, list[Utterance]]:
    given = {"num_workers": 1, "sample_rate_hz": 8000, **options, "text": text}
    return prepare("spoken", None, text.parent / name, given)


def audio(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.flac")}


def test_every_sentence_is_spoken_by_as_many_voices_as_asked(text: Path) -> None:
    sets = make(text, per_sentence=3, dev_fraction=0.3)
    assert {name: len(found) for name, found in sets.items()} == {"train": 12, "dev": 6}
    for name, found in sets.items():
        assert set(Counter(one.text for one in found).values()) == {3}
        variants = {variant for family in split_families()[name] for variant in family}
        for one in found:
            assert str(one.speaker).split("+")[1].replace("_", " ") in variants
    by_sentence = {one.text: set() for one in sets["train"]}  # type: ignore[var-annotated]
    for one in sets["train"]:
        by_sentence[one.text].add(one.speaker)
    assert all(len(speakers) == 3 for speakers in by_sentence.values())
    assert {one.text for one in sets["train"]}.isdisjoint(one.text for one in sets["dev"])


def test_the_audio_is_as_the_manifest_says(text: Path) -> None:
    for one in make(text, sample_rate_hz=11025)["train"]:
        info = probe_audio(one.audio_path)
        assert (info.sample_rate_hz, info.num_channels) == (11025, 1)
        assert one.duration_s == pytest.approx(info.duration_s, abs=1e-5)


def test_the_same_settings_give_the_same_bytes(text: Path) -> None:
    assert make(text, "a") != {}
    make(text, "b")
    first = audio(text.parent / "a")
    assert first == audio(text.parent / "b")
    make(text, "c", seed=2)
    assert set(first.values()).isdisjoint(audio(text.parent / "c").values())


def test_what_is_there_is_not_spoken_again(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(text, dev_fraction=0)["train"]
    first[2].audio_path.unlink()
    calls: list[str] = []

    def count(sentence: str, voice: Voice, markup: bool = False) -> object:
        calls.append(sentence)
        return synthesize(sentence, voice, markup)

    monkeypatch.setattr(spoken, "synthesize", count)
    assert make(text, dev_fraction=0)["train"] == first
    assert calls == [first[2].text]
    # Other settings sound otherwise: nothing of the old is taken for theirs.
    make(text, dev_fraction=0, seed=9)
    assert len(calls) == 1 + len(LINES)


def test_more_lines_change_no_utterance(text: Path) -> None:
    before = make(text, dev_fraction=0)["train"]
    content = audio(text.parent / "out")
    write(text, ["shut it", *reversed(LINES)])
    after = make(text, dev_fraction=0, per_sentence=2)["train"]
    assert {one.id for one in before} < {one.id for one in after}
    assert len(after) == 14
    assert content.items() <= audio(text.parent / "out").items()


def test_a_line_twice_is_spoken_twice_as_often(text: Path) -> None:
    write(text, ["yes", "no", "  yes", ""])
    assert read_sentences(text) == {"yes": 2, "no": 1}
    found = make(text, dev_fraction=0, per_sentence=2)["train"]
    assert Counter(one.text for one in found) == {"yes": 4, "no": 2}
    assert len({one.id for one in found}) == 6


def test_hours_of_speech(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = make(text, hours=40 / 3600, dev_fraction=0.2)
    lengths_s = {name: [one.duration_s for one in found] for name, found in sets.items()}
    # One utterance fewer would not do; sentences take turns.
    assert 40 <= sum(lengths_s["train"]) < 40 + max(lengths_s["train"])
    assert 10 <= sum(lengths_s["dev"]) < 10 + max(lengths_s["dev"])
    counts = Counter(one.text for one in sets["train"])
    assert max(counts.values()) - min(counts.values()) <= 1
    # Processes change nothing.
    monkeypatch.setattr("asr.corpora.synthetic._MIN_PARALLEL_JOBS", 2)
    again = make(text, "two", hours=40 / 3600, dev_fraction=0.2, num_workers=2)
    assert [one.id for one in again["train"]] == [one.id for one in sets["train"]]


def test_what_cannot_be_spoken_is_left_out(text: Path) -> None:
    write(text, ["yes", "..."])
    problems: list[Problem] = []
    options = {"text": text, "dev_fraction": 0, "hours": 5 / 3600, "num_workers": 1}
    found = prepare("spoken", None, text.parent / "out", options, problems.append)["train"]
    assert {one.text for one in found} == {"yes"}
    assert problems
    assert all("nothing to speak in '...'" in problem.reason for problem in problems)


def test_silence_alone_does_not_go_on_for_ever(text: Path) -> None:
    write(text, ["...", "?!"])
    with pytest.raises(DataError, match=r"2 utterances .* cannot be used"):
        make(text, dev_fraction=0, hours=1)


def test_too_few_sentences_to_hold_some_out(text: Path) -> None:
    write(text, ["yes", "yes"])
    with pytest.raises(DataError, match="1 different sentences: too few"):
        make(text)
    assert len(make(text, dev_fraction=0)["train"]) == 2


def test_a_text_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.txt"):
        make(tmp_path / "none.txt")


def test_any_language(text: Path) -> None:
    write(text, ["guten Tag", "auf Wiedersehen"])
    found = make(text, dev_fraction=0, languages="de, fr-fr")["train"]
    assert {str(one.speaker).split("+")[0] for one in found} <= {"de", "fr-fr"}
    with pytest.raises(ConfigError, match="no language 'english'"):
        make(text, dev_fraction=0, languages="english")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dev_fraction": 0.5, "test_fraction": 0.5}, "must leave something to train on"),
        ({"min_snr_db": 30, "max_snr_db": 10}, "min_snr_db must be at most max_snr_db"),
        ({"languages": []}, "languages"),
        ({"hours": 0}, "hours"),
        ({"text": None}, "text"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_options(SpokenOptions, {"text": "a.txt", **options}, "--set")


@pytest.mark.parametrize(
    ("text", "spelling", "expected"),
    [
        ("enter a b four", "runs", "enter [ab] four"),
        ("a b", "runs", "[ab]"),
        ("a cat", "runs", "a cat"),
        ("a cat", "all", "[a] cat"),
        ("x six a", "all", "[x] six [a]"),
        ("a b", "none", "a b"),
        ("J. R. Tolkien", "runs", "[JR] Tolkien"),
        ("I, a man", "runs", "I, a man"),
        ("don't a-b 4 a", "runs", "don't a-b 4 a"),
        ("Ä ö x", "runs", "[Äöx]"),
        ("a & b < c", "runs", "a &amp; b &lt; c"),
    ],
)
def test_letters_are_marked(text: str, spelling: spoken.Spelling, expected: str) -> None:
    marked = expected.replace("[", '<say-as interpret-as="characters">').replace("]", "</say-as>")
    assert spell_out(text, spelling) == marked


@given(st.lists(st.sampled_from(["a", "b", "I", "cat", "7", "&"]), max_size=8))
def test_spelling_all_marks_each_letter_once(words: list[str]) -> None:
    marked = spell_out(" ".join(words), "all")
    parts = marked.split('<say-as interpret-as="characters">')
    named = "".join(part.split("</say-as>")[0] for part in parts[1:])
    assert named == "".join(word for word in words if word in ("a", "b", "I"))


def test_a_letter_is_said_by_its_name() -> None:
    """Alone, eSpeak NG calls it "ay"; before another word it takes it for the article."""
    voice = Voice("en-us", rate_wpm=120)
    length_s = {
        spelling: synthesize(spell_out("a b", spelling), voice, markup=True).duration_s
        for spelling in ("none", "runs")
    }
    assert length_s["runs"] > length_s["none"] + 0.05
    named = [synthesize(spell_out(x, "all"), voice, markup=True).duration_s for x in ("a", "b")]
    assert length_s["runs"] == pytest.approx(sum(named), rel=0.35)


@pytest.mark.parametrize("sentence", ["hello world", "the 3 cats < 5 dogs", "salt and pepper"])
def test_text_without_letters_sounds_as_plain_text(sentence: str) -> None:
    marked = synthesize(spell_out(sentence, "runs"), markup=True)
    assert marked.samples.tobytes() == synthesize(sentence).samples.tobytes()


def test_markup_is_only_markup_when_asked() -> None:
    plain, marked = (synthesize("<p>cat</p>", markup=markup) for markup in (False, True))
    assert marked.duration_s < plain.duration_s
