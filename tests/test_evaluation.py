"""Scoring: pairing, pooled rates, edge cases, the bootstrap, and the transcript formats."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding import Hypothesis
from asr.errors import DataError
from asr.evaluation import WerReport, score_texts
from asr.transcripts import Format, format_of, read_transcripts
from asr.wer import ErrorCounts

texts = st.lists(st.sampled_from(["one", "two", "three", "oh"]), max_size=6).map(" ".join)
pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=8)


def report_of(*sides: tuple[str, str]) -> WerReport:
    references = {str(i): said for i, (said, _) in enumerate(sides)}
    return score_texts(references, {str(i): heard for i, (_, heard) in enumerate(sides)})


class TestRates:
    def test_kaldi_lines_by_hand(self) -> None:
        report = report_of(("a bc d", "a bx d"), ("a", "a"), ("e f", "e"), ("g", "g h"))
        assert report.kaldi_line() == "%WER 42.86 [ 3 / 7, 1 ins, 1 del, 1 sub ]"
        # Characters with blanks: 6 + 1 + 3 + 1; errors c→x, " f" lost, " h" added.
        assert report.cer_line() == "%CER 45.45 [ 5 / 11, 2 ins, 2 del, 1 sub ]"
        assert report.ser_line() == "%SER 75.00 [ 3 / 4 ]"

    def test_perfect(self) -> None:
        report = report_of(("one two", "one  two "), ("three", "three"))
        assert report.kaldi_line() == "%WER 0.00 [ 0 / 3, 0 ins, 0 del, 0 sub ]"
        assert report.sentence_error_rate == 0.0

    def test_rate_is_pooled_not_a_mean_of_rates(self) -> None:
        report = report_of(("a", "b"), ("a b c d e f g h i", "a b c d e f g h i"))
        assert report.words.rate == pytest.approx(0.1)

    @given(pairs.filter(lambda sides: any(said for said, _ in sides)))
    def test_pooled_rates_are_those_of_jiwer(self, sides: list[tuple[str, str]]) -> None:
        report = report_of(*sides)
        said, heard = [side[0] for side in sides], [side[1] for side in sides]
        assert report.words.rate == pytest.approx(jiwer.process_words(said, heard).wer)
        assert report.characters.rate == pytest.approx(jiwer.process_characters(said, heard).cer)

    @given(pairs, st.randoms())
    def test_order_does_not_matter(
        self, sides: list[tuple[str, str]], random: st.DataObject
    ) -> None:
        shuffled = list(sides)
        random.shuffle(shuffled)
        assert report_of(*sides).words == report_of(*shuffled).words

    def test_rows_hold_alignment_and_counts(self) -> None:
        (row,) = report_of(("one two", "one")).utterances
        assert row.to_dict() == {
            "id": "0",
            "reference": "one two",
            "hypothesis": "one",
            "words": counts_dict(errors=1, references=2, hits=1, deletions=1),
            "characters": counts_dict(errors=4, references=7, hits=3, deletions=4),
            "alignment": [["hit", "one", "one"], ["deletion", "two", None]],
        }

    def test_rows_are_written_where_text_or_a_path_says(self, tmp_path: Path) -> None:
        report = report_of(("one two", "one"))
        for path in (tmp_path / "rows.jsonl", str(tmp_path / "rows.jsonl")):
            report.write_utterances(path)
            (row,) = (tmp_path / "rows.jsonl").read_text().splitlines()
            assert json.loads(row) == report.utterances[0].to_dict()
            Path(path).unlink()


def counts_dict(**counts: int) -> dict[str, int]:
    names = ("errors", "references", "hits", "substitutions", "deletions", "insertions")
    return dict.fromkeys(names, 0) | counts


class TestEmptyReference:
    def test_what_is_heard_in_silence_is_inserted(self) -> None:
        report = report_of(("", "uh huh"), ("one", "one"))
        assert report.kaldi_line() == "%WER 200.00 [ 2 / 1, 2 ins, 0 del, 0 sub ]"
        assert report.ser_line() == "%SER 50.00 [ 1 / 2 ]"

    def test_nothing_heard_in_silence_is_correct(self) -> None:
        report = report_of(("", ""))
        assert report.words == ErrorCounts()
        assert report.kaldi_line() == "%WER 0.00 [ 0 / 0, 0 ins, 0 del, 0 sub ]"
        assert report.sentence_error_rate == 0.0

    def test_rate_without_any_reference_word_is_infinite(self) -> None:
        report = report_of(("", "uh"), ("", ""))
        assert report.words.rate == math.inf
        assert report.kaldi_line() == "%WER inf [ 1 / 0, 1 ins, 0 del, 0 sub ]"
        totals = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert totals["wer"] is None
        assert totals["wer_interval_95"] is None


class TestPairing:
    def test_an_id_on_one_side_only_is_refused(self) -> None:
        with pytest.raises(DataError) as caught:
            score_texts({"a": "x", "b": "y"}, {"a": "x"})
        assert str(caught.value) == (
            "references and hypotheses differ: "
            "1 id without a hypothesis (first: 'b'), 0 without a reference"
        )

    def test_both_sides_are_named(self) -> None:
        with pytest.raises(DataError, match=r"1 id without a hyp.*'a'.*2 without a ref.*'b'"):
            score_texts({"a": "x"}, {"b": "x", "c": "x"})

    def test_nothing_to_score_is_refused(self) -> None:
        with pytest.raises(DataError, match="nothing to score"):
            score_texts({}, {})

    def test_texts_without_ids_are_refused(self) -> None:
        """The letters of a text would be taken for ids."""
        for sides, name in ((("a b", "a b"), "references"), (({"a": "x"}, ["x"]), "hypotheses")):
            with pytest.raises(DataError, match=f"{name} must be texts by their ids, got "):
                score_texts(*sides)  # type: ignore[arg-type]

    def test_what_is_no_text_is_refused(self) -> None:
        """What a recogniser gives is a hypothesis, and its words are no characters."""
        heard = Hypothesis((), (), (), 0.0, 0.0, 0.0)
        message = r"hypotheses must be texts, got Hypothesis for 'b'; pass its text"
        with pytest.raises(DataError, match=message):
            score_texts({"a": "x", "b": "y"}, {"a": "x", "b": heard})  # type: ignore[dict-item]
        with pytest.raises(DataError, match=r"references must be texts, got NoneType for 'a'$"):
            score_texts({"a": None}, {"a": "x"})  # type: ignore[dict-item]

    def test_pairs_by_id_not_by_position(self) -> None:
        report = score_texts({"a": "one", "b": "two"}, {"b": "two", "a": "one"})
        assert report.words.num_errors == 0
        assert [row.utterance_id for row in report.utterances] == ["a", "b"]


class TestBootstrap:
    def test_holds_the_rate(self) -> None:
        report = report_of(*[("a b c d", "a b c d")] * 30, *[("a b c d", "a x c")] * 10)
        low, high = report.bootstrap_interval() or (1.0, 0.0)
        assert 0 < low < report.words.rate < high < 0.5

    def test_one_seed_gives_one_interval(self) -> None:
        report = report_of(*[("a b c d", "a b c d")] * 30, *[("a b c d", "a x c")] * 10)
        # Few resamples, so that their extremes differ from seed to seed.
        assert len({report.bootstrap_interval(3, seed=5) for _ in range(10)}) == 1
        assert len({report.bootstrap_interval(3, seed=seed) for seed in range(10)}) > 1

    def test_agrees_with_the_normal_approximation(self) -> None:
        # One-word utterances are coin tosses: 0.2 ± 1.96 sqrt(0.2 · 0.8 / 400) = 0.161 … 0.239.
        report = report_of(*[("a", "a")] * 320, *[("a", "b")] * 80)
        assert report.bootstrap_interval() == pytest.approx((0.161, 0.239), abs=0.006)

    def test_wider_level_is_wider(self) -> None:
        report = report_of(*[("a", "a")] * 30, *[("a", "b")] * 10)
        narrow, wide = report.bootstrap_interval(level=0.5), report.bootstrap_interval(level=0.99)
        assert narrow is not None and wide is not None
        assert wide[0] < narrow[0] < narrow[1] < wide[1]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"level": 95}, r"level must be between 0 and 1, got 95; 0\.95 for 95 %"),
            ({"level": 0.0}, "level must be between 0 and 1"),
            ({"num_resamples": 0}, "num_resamples must be at least 1, got 0"),
        ],
    )
    def test_what_is_no_interval_is_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            report_of(("a", "a"), ("a", "b")).bootstrap_interval(**options)

    def test_there_is_none_for_one_utterance(self) -> None:
        assert report_of(("a", "b")).bootstrap_interval() is None

    def test_sets_without_a_word_are_left_out(self) -> None:
        """About one draw in e is of noise alone."""
        report = report_of(("one two", "one too"), *[("", "uh")] * 9)
        low, high = report.bootstrap_interval() or (0.0, 0.0)
        assert 0 < low <= high == 5.0  # one draw of the words: 1 + 9 errors in 2 words
        assert "inf" not in "".join(report.lines("none"))


class TestTranscripts:
    @pytest.mark.parametrize(
        ("file_format", "content"),
        [
            ("kaldi", "u1 one two\nu2\nu3\tthree \n"),
            ("trn", "one two (u1)\n(u2)\nthree  (u3)\n"),
            (
                "jsonl",
                '{"id": "u1", "text": "one two", "duration_s": 1}\n{"id": "u2", "text": ""}\n'
                '{"text": "three", "id": "u3"}\n',
            ),
        ],
    )
    def test_formats_with_ids(self, tmp_path: Path, file_format: Format, content: str) -> None:
        path = tmp_path / "file"
        expected = {"u1": "one two", "u2": "", "u3": "three"}
        for variant in (content, content.rstrip("\n"), f"\n{content}\n", f"\ufeff{content}"):
            path.write_text(variant, encoding="utf-8")
            assert read_transcripts(path, file_format) == expected
        path.write_text(content, encoding="utf-8", newline="\r\n")
        assert read_transcripts(path, file_format) == expected

    def test_text_counts_every_line(self, tmp_path: Path) -> None:
        path = tmp_path / "ref.txt"
        path.write_text("one\n\nthree\u2028four\n", encoding="utf-8")
        assert read_transcripts(path, "text") == {"1": "one", "2": "", "3": "three\u2028four"}

    def test_trn_keeps_parentheses_inside(self, tmp_path: Path) -> None:
        path = tmp_path / "ref.trn"
        path.write_text("one f(x) two (spk-1)\n")
        assert read_transcripts(path, "trn") == {"spk-1": "one f(x) two"}

    @pytest.mark.parametrize(
        ("file_format", "content", "message"),
        [
            ("kaldi", "a one\nb two\na three\n", "line 3: id 'a' is already on line 1"),
            ("trn", "one two\n", "line 1: does not end in `(id)`"),
            ("trn", "one ()\n", "line 1: does not end in `(id)`"),
            ("trn", "{ one / two } (a)\n", "line 1: alternations"),
            ("trn", "so {one/two} (a)\n", "line 1: alternations"),
            ("trn", "one (a)\n(uh) one (b)\n", "line 2: words that may be missing, such as '(uh)'"),
            ("jsonl", '{"id": "a", "text": "x"}\n{"id": \n', "line 2: not JSON"),
            ("jsonl", '["a"]\n', 'line 1: expected a JSON object, got ["a"]'),
            ("jsonl", '{"id": 7, "text": "x"}\n', "line 1: `id` must be a string, got 7"),
            ("jsonl", '{"id": "a"}\n', "line 1: `text` is missing"),
            ("jsonl", '{"id": "a", "text": null}\n', "`text` must be a string, got None"),
            ("jsonl", '{"id": "a", "text": "\\ud800"}\n', "`text` holds half a surrogate pair"),
        ],
    )
    def test_wrong_lines_are_named(
        self, tmp_path: Path, file_format: Format, content: str, message: str
    ) -> None:
        path = tmp_path / "file"
        path.write_text(content)
        with pytest.raises(DataError) as caught:
            read_transcripts(path, file_format)
        assert message in str(caught.value)
        assert "1 line is wrong" in str(caught.value)

    def test_many_wrong_lines_are_counted(self, tmp_path: Path) -> None:
        path = tmp_path / "ref.trn"
        path.write_text("one\n" * 9)
        with pytest.raises(DataError, match=r"9 lines are wrong: line 1: .*line 5: .*and 4 more$"):
            read_transcripts(path, "trn")

    def test_unreadable_files(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="No such file"):
            read_transcripts(tmp_path / "missing", "kaldi")
        with pytest.raises(DataError, match="directory"):
            read_transcripts(tmp_path, "kaldi")
        (tmp_path / "latin").write_bytes("a caf\xe9".encode("latin-1"))
        with pytest.raises(DataError, match="not UTF-8 text"):
            read_transcripts(tmp_path / "latin", "kaldi")

    def test_only_telling_suffixes_tell_the_format(self) -> None:
        assert format_of(Path("a/ref.jsonl")) == "jsonl"
        assert format_of(Path("hyp.trn")) == "trn"
        for name in ("ref.txt", "text", "ref.json", "manifest"):
            with pytest.raises(DataError, match="--format"):
                format_of(Path(name))
