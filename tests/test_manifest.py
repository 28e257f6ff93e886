"""Manifests: written and read back, every wrong line named, utterances checked."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr.audio import PCM_ENCODINGS, PcmFormat, ReadOptions, Waveform, read_audio, write_audio
from asr.errors import DataError
from asr.manifest import (
    Problem,
    Utterance,
    check_manifest,
    checking,
    read_manifest,
    read_manifests,
    write_manifest,
)
from asr.text import TextConfig
from asr.tokens import TokensConfig, build_tokenizer

RATE_HZ = 8000
LINE: dict[str, Any] = {"id": "a", "audio_path": "a.wav", "duration_s": 1.5, "text": "Yes."}

texts = st.text(st.characters(exclude_categories=["Cs"]))
ids = st.text(st.characters(exclude_categories=["Cs", "Zs"]), min_size=1).filter(
    lambda text: text.split() == [text]
)
seconds = st.floats(min_value=0.0, allow_nan=False, allow_infinity=False)
file_names = st.text("abcäß 語'\"\\.-_", min_size=1).filter(lambda name: name.strip("."))
audio_paths = st.builds(
    Path, st.just("/data"), st.sampled_from(["set", "set/wav", "other", "settings"]), file_names
)
pcm_formats = st.builds(
    PcmFormat,
    sample_rate_hz=st.integers(1000, 1_000_000),
    encoding=st.sampled_from(PCM_ENCODINGS),
    num_channels=st.integers(1, 1024),
)
utterances = st.builds(
    Utterance,
    id=ids,
    audio_path=audio_paths,
    duration_s=seconds.filter(lambda value: value > 0),
    text=texts,
    start_s=seconds,
    speaker=st.none() | texts,
    channel=st.just("mix") | st.integers(0, 100),
    pcm=st.none() | pcm_formats,
)


@given(st.lists(utterances, min_size=1, max_size=5, unique_by=lambda one: one.id))
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, written: list[Utterance]
) -> None:
    path = tmp_path_factory.getbasetemp() / "roundtrip.jsonl"
    write_manifest(path, written)
    assert read_manifest(path) == written


def _write_lines(path: Path, *lines: object) -> Path:
    """Each line as it is, or an object as JSON."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def test_only_what_differs_from_the_defaults_is_written(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    first = Utterance("a", tmp_path / "wav" / "ä.wav", 1.5, "Zürich", speaker="s1")
    second = Utterance("b", Path("/far/b.raw"), 2.0, "", 0.5, None, 1, PcmFormat(RATE_HZ, "s16be"))
    write_manifest(path, [first, second])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == (
        '{"id": "a", "audio_path": "wav/ä.wav", "duration_s": 1.5, "text": "Zürich", '
        '"speaker": "s1"}'
    )
    assert json.loads(lines[1]) == {
        "id": "b",
        "audio_path": "/far/b.raw",
        "duration_s": 2.0,
        "text": "",
        "start_s": 0.5,
        "channel": 1,
        "pcm": {"sample_rate_hz": RATE_HZ, "encoding": "s16be", "num_channels": 1},
    }


def test_a_folder_can_be_moved(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write_audio(old / "wav" / "a.wav", Waveform(np.zeros(RATE_HZ, np.float32), RATE_HZ))
    write_manifest(old / "a.jsonl", [Utterance("a", old / "wav" / "a.wav", 1.0, "x")])
    shutil.move(old, new)
    moved = read_manifest(new / "a.jsonl")
    assert moved[0].audio_path == new / "wav" / "a.wav"
    assert check_manifest(moved) == []


def test_a_manifest_behind_a_link_is_read_by_either_name(tmp_path: Path) -> None:
    """Relative paths would start at the folder of the link, or at that of the file."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    (tmp_path / "one/a.jsonl").symlink_to("../two/a.jsonl")
    written = [Utterance(name, tmp_path / name / "x.wav", 1.0, "x") for name in ("one", "two")]
    write_manifest(tmp_path / "one/a.jsonl", written)
    assert read_manifest(tmp_path / "one/a.jsonl") == written
    assert read_manifest(tmp_path / "two/a.jsonl") == written


def test_relative_paths_do_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path)
    write_manifest(Path("set/a.jsonl"), [Utterance("a", Path("set/a.wav"), 1.0, "x")])
    assert '"a.wav"' in Path("set/a.jsonl").read_text(encoding="utf-8")
    read = read_manifest(Path("set/a.jsonl"))
    monkeypatch.chdir("/")
    assert read[0].audio_path == tmp_path / "set" / "a.wav"


def test_defaults_and_whole_seconds(tmp_path: Path) -> None:
    path = _write_lines(tmp_path / "a.jsonl", "", {**LINE, "duration_s": 2}, "  ", "")
    assert read_manifest(path) == [Utterance("a", tmp_path / "a.wav", 2.0, "Yes.")]
    assert type(read_manifest(path)[0].duration_s) is float


def test_line_separators_inside_texts_and_byte_order_marks(tmp_path: Path) -> None:
    line = json.dumps({**LINE, "text": "a\u2028b\u0085c"}, ensure_ascii=False)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    assert [one.text for one in read_manifest(path)] == ["a\u2028b\u0085c"]


def _changed(**changes: Any) -> dict[str, Any]:
    return {**LINE, **changes}


def _without(key: str) -> dict[str, Any]:
    return {name: value for name, value in LINE.items() if name != key}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: Expecting property name"),
        ('{"id": "a" "text": "b"}', "not JSON: Expecting ',' delimiter at column 12"),
        ("not json", "not JSON"),
        ("[1, 2]", "expected a JSON object, got [1, 2]"),
        ("null", "expected a JSON object, got null"),
        ("[" * 100_000, "nested too deeply"),
        ('{"id": "a", "id": "b"}', "the key `id` occurs twice"),
        (_without("id"), "`id` is missing"),
        (_without("audio_path"), "`audio_path` is missing"),
        (_without("duration_s"), "`duration_s` is missing"),
        (_without("text"), "`text` is missing"),
        (_changed(duration=1.0), "unknown key `duration`; did you mean `duration_s`?"),
        (_changed(audio_filepath="x"), "did you mean `audio_path`?"),
        (_changed(zzz=1), "unknown key `zzz`; known: id, audio_path, duration_s, text"),
        (_changed(id=5), "`id` must be a string, got 5"),
        (_changed(id=""), "id must not be empty"),
        (_changed(id="a b"), "white space, got 'a b'"),
        (_changed(text=None), "`text` must be a string, got null"),
        (_changed(text="\ud800"), "`text` holds half a surrogate pair"),
        (_changed(audio_path=""), "`audio_path` must name a file"),
        (_changed(audio_path="a\0"), "`audio_path` must name a file"),
        (_changed(duration_s="1"), '`duration_s` must be a number, got "1"'),
        (_changed(duration_s=True), "`duration_s` must be a number, got true"),
        (_changed(duration_s=0), "duration_s must be above 0, got 0"),
        (_changed(duration_s=-1.5), "duration_s must be above 0, got -1.5"),
        (_changed(duration_s=float("nan")), "NaN is not JSON"),
        (_changed(duration_s=float("inf")), "Infinity is not JSON"),
        (_changed(duration_s=10**400), "duration_s must be above 0, got inf"),
        (json.dumps(LINE).replace("1.5", "1e999"), "duration_s must be above 0, got inf"),
        (json.dumps(LINE).replace("1.5", "9" * 5000), "number too long"),
        (_changed(start_s=-0.5), "start_s must be 0 or more, got -0.5"),
        (_changed(speaker=3), "`speaker` must be a string or null, got 3"),
        (_changed(channel="left"), "`channel` must be 'mix' or an integer, got \"left\""),
        (_changed(channel=1.5), "`channel` must be 'mix' or an integer"),
        (_changed(channel=-1), "channel must be 'mix' or 0 or more, got -1"),
        (_changed(pcm=8000), "`pcm` must be an object, got 8000"),
        (_changed(pcm={}), "`pcm.sample_rate_hz` is missing"),
        (_changed(pcm={"sample_rate": 1}), "unknown key `pcm.sample_rate`; did you mean `sample"),
        (_changed(pcm={"sample_rate_hz": 8e3}), "`pcm.sample_rate_hz` must be an integer"),
        (_changed(pcm={"sample_rate_hz": 8000, "encoding": "s16"}), "unknown PCM encoding 's16'"),
        (_changed(pcm={"sample_rate_hz": 8}), "sampling rate 8 Hz"),
        (_changed(text="x" * 100, id=["x" * 100]), "..."),
    ],
)
def test_a_wrong_line_is_named_with_its_number(tmp_path: Path, line: object, reason: str) -> None:
    path = _write_lines(tmp_path / "a.jsonl", _changed(id="first"), "", line, _changed(id="last"))
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert f"{path}: 1 of 3 lines cannot be used: line 3: " in message
    assert reason in message
    assert len(message) < 500 + len(str(path))


def test_every_wrong_line_is_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    path = _write_lines(tmp_path / "a.jsonl", *["?"] * 8, LINE)
    with pytest.raises(DataError, match=r"8 of 9 lines .* line 1: .* line 5: .*; and 3 more"):
        read_manifest(path)


def test_a_double_id_is_named_with_both_lines(tmp_path: Path) -> None:
    path = _write_lines(tmp_path / "a.jsonl", LINE, _changed(id="b"), LINE)
    with pytest.raises(DataError, match="line 3: id 'a' is that of line 1 already"):
        read_manifest(path)
    one = Utterance("a", Path("a.wav"), 1.0, "x")
    with pytest.raises(DataError, match="the id 'a' occurs twice"):
        write_manifest(tmp_path / "b.jsonl", [one, one])
    assert not (tmp_path / "b.jsonl").exists()


def write_ids(path: Path, names: str) -> Path:
    path.write_text("".join(json.dumps({**LINE, "id": name}) + "\n" for name in names))
    return path


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4))
def test_several_manifests_are_one_exactly_when_no_id_is_in_two(
    tmp_path_factory: pytest.TempPathFactory, sets: list[str]
) -> None:
    directory = tmp_path_factory.mktemp("several")
    named = ["".join(dict.fromkeys(names)) for names in sets]
    paths = [write_ids(directory / f"{index}.jsonl", names) for index, names in enumerate(named)]
    joined = "".join(named)
    if len(set(joined)) == len(joined):
        assert [one.id for one in read_manifests(paths)] == list(joined)
        return
    with pytest.raises(DataError, match=r"the id '[abc]' is in .*\.jsonl and in .*\.jsonl"):
        read_manifests(paths)


def test_a_manifest_named_twice_is_refused(tmp_path: Path) -> None:
    path = write_ids(tmp_path / "m.jsonl", "ab")
    with pytest.raises(DataError, match=r"the id 'a' is in .*m\.jsonl and in .*m\.jsonl"):
        read_manifests([path, path])


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(DataError, match=r"cannot read manifest .*No such file"):
        read_manifest(path)
    with pytest.raises(DataError, match=r"cannot read manifest .*directory"):
        read_manifest(tmp_path)
    path.write_bytes(json.dumps(LINE).encode() + b'\n{"id": "\xe4"}')
    with pytest.raises(DataError, match="is not UTF-8 text, first in line 2"):
        read_manifest(path)
    path.write_text("\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no utterance"):
        read_manifest(path)


def test_half_a_surrogate_pair_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="surrogate"):
        write_manifest(tmp_path / "a.jsonl", [Utterance("a", Path("a.wav"), 1.0, "\udc80")])
    assert list(tmp_path.iterdir()) == []


def test_ten_thousand_lines_are_read_quickly(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    many = [
        Utterance(f"speaker-{index}", tmp_path / "wav" / f"{index}.flac", 1.5, "HELLO", speaker="s")
        for index in range(10_000)
    ]
    write_manifest(path, many)
    # Processor time, since tests share the machine; 0.15 s measured.
    start = time.process_time()
    assert read_manifest(path) == many
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "id must not be empty"),
        ({"id": "a\tb"}, "white space"),
        ({"duration_s": 0.0}, "duration_s must be above 0"),
        ({"duration_s": float("nan")}, "duration_s must be above 0"),
        ({"start_s": float("inf")}, "start_s must be 0 or more"),
        ({"channel": -1}, "channel must be 'mix' or 0 or more"),
    ],
)
def test_utterances_validate_themselves(changes: dict[str, Any], message: str) -> None:
    values = {"id": "a", "audio_path": Path("a"), "duration_s": 1.0, "text": "", **changes}
    with pytest.raises(DataError, match=message):
        Utterance(**values)


def test_read_options_read_exactly_the_utterance(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    samples = np.random.default_rng(0).uniform(-1, 1, (3 * RATE_HZ, 2)).astype(np.float32)
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    utterance = Utterance("a", path, 0.5, "x", start_s=1.25, channel=1)
    read = read_audio(path, utterance.read_options())
    np.testing.assert_array_equal(read.samples, samples[10_000:14_000, 1])
    assert len(read_audio(path, utterance.read_options(16_000)).samples) == 8000


def test_an_utterance_may_be_longer_than_the_limit_for_files() -> None:
    pcm = PcmFormat(RATE_HZ)
    options = Utterance("a", Path("a.raw"), 4000.0, "x", pcm=pcm).read_options(16_000)
    assert options == ReadOptions(0.0, 4000.0, 16_000, "mix", pcm, 4000.0)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Two seconds of stereo silence."""
    path = tmp_path / "two.wav"
    soundfile.write(path, np.zeros((2 * RATE_HZ, 2)), RATE_HZ)
    return path


def _reasons(problems: list[Problem]) -> list[str]:
    return [problem.reason for problem in problems]


def test_good_utterances_have_no_problems(audio: Path) -> None:
    tokenizer = build_tokenizer(TokensConfig(), ["yes no"])
    good = [
        Utterance("a", audio, 2.0, "Yes"),
        Utterance("b", audio, 0.5, "NO", start_s=1.5, channel=1),
        Utterance("c", audio, 2.005, "yes"),  # the rounding that reading allows
    ]
    assert check_manifest(good, tokenizer=tokenizer, num_frames=at_rate(25)) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audio_path": Path("/nowhere/a.wav")}, "there is no file /nowhere/a.wav"),
        ({"audio_path": Path("/")}, "is a directory, expected an audio file"),
        ({"duration_s": 2.1}, "0.000 s to 2.100 s is not inside the file, which is 2.000 s long"),
        ({"start_s": 2.0}, "is not inside the file"),
        ({"channel": 2}, "no channel 2: the audio has channels 0 to 1"),
        ({"pcm": PcmFormat(RATE_HZ)}, "has a header of its own"),
    ],
)
def test_problems_with_the_audio(audio: Path, changes: dict[str, Any], reason: str) -> None:
    values = {"id": "a", "audio_path": audio, "duration_s": 1.0, "text": "x", **changes}
    problems = check_manifest([Utterance(**values)])
    assert len(problems) == 1
    assert problems[0].utterance_id == "a"
    assert reason in problems[0].reason
    assert "\n" not in problems[0].reason


def at_rate(frames_per_s: int) -> Callable[[int, int], int]:
    """So many frames a second, none for what is left over."""
    return lambda num_samples, sample_rate_hz: num_samples * frames_per_s // sample_rate_hz


def test_problems_with_the_transcript(audio: Path) -> None:
    tokenizer = build_tokenizer(TokensConfig(), ["yes no"])
    checked = [
        Utterance("unknown", audio, 1.0, "maybe"),
        Utterance("wordless", audio, 1.0, " "),
        Utterance("short", audio, 0.2, "yes yes"),
        Utterance("fits", audio, 0.28, "yes yes"),
    ]
    problems = check_manifest(checked, tokenizer=tokenizer, num_frames=at_rate(25))
    assert [problem.utterance_id for problem in problems] == ["unknown", "short"]
    assert "characters not in the vocabulary: 'a', 'b', 'm'; in the text 'maybe'" in _reasons(
        problems
    )
    assert problems[1].reason == ("0.200 s give 5 frames, too short for CTC: its 7 tokens need 7")
    without_rate = check_manifest(checked, tokenizer=tokenizer)
    assert [problem.utterance_id for problem in without_rate] == ["unknown"]
    assert check_manifest(checked) == []


def test_a_transcript_may_be_empty_but_not_lost(audio: Path) -> None:
    """Nobody speaks in the first; of the second, something was said that no token stands for."""
    checked = [Utterance("wordless", audio, 1.0, ""), Utterance("lost", audio, 1.0, "?!")]
    tokenizer = build_tokenizer(TokensConfig(), ["yes no"])
    problems = check_manifest(checked, tokenizer=tokenizer, text=TextConfig(profile="letters"))
    assert [problem.utterance_id for problem in problems] == ["lost"]
    assert _reasons(problems) == ["the text profile leaves nothing of its transcript"]


def test_repeated_letters_need_a_frame_for_the_blank_between(audio: Path) -> None:
    tokenizer = build_tokenizer(TokensConfig(), ["aab"])
    fits = Utterance("a", audio, 1.0, "ab")
    assert check_manifest([fits], tokenizer=tokenizer, num_frames=at_rate(2)) == []
    repeated = Utterance("a", audio, 1.5, "aab")
    assert _reasons(check_manifest([repeated], tokenizer=tokenizer, num_frames=at_rate(2))) == [
        "1.500 s give 3 frames, too short for CTC: its 3 tokens need 4"
    ]


def test_an_utterance_without_words_needs_a_frame(audio: Path) -> None:
    """No front end makes features of less than a window, whatever is said in it."""
    tokenizer = build_tokenizer(TokensConfig(), ["yes"])
    checked = [Utterance("fits", audio, 0.04, ""), Utterance("short", audio, 0.03, "")]
    problems = check_manifest(checked, tokenizer=tokenizer, num_frames=at_rate(25))
    assert [problem.utterance_id for problem in problems] == ["short"]
    assert _reasons(problems) == ["0.030 s give no frame: too short for the model"]


@pytest.mark.parametrize("start_samples", [0.0, 0.4, 0.5, 0.6])
def test_frames_are_those_of_the_samples_that_are_read(audio: Path, start_samples: float) -> None:
    """Both ends of a range are rounded: 639.6 samples from 0.6 on are 639 when read."""
    part = Utterance("a", audio, 639.6 / RATE_HZ, "ab", start_s=start_samples / RATE_HZ)
    counted = []

    def count(num_samples: int, sample_rate_hz: int) -> int:
        counted.append((num_samples, sample_rate_hz))
        return 100

    tokenizer = build_tokenizer(TokensConfig(), ["ab"])
    assert check_manifest([part], tokenizer=tokenizer, num_frames=count) == []
    assert counted == [(len(read_audio(audio, part.read_options()).samples), RATE_HZ)]


def test_transcripts_are_normalised_before_they_are_checked(audio: Path) -> None:
    tokenizer = build_tokenizer(TokensConfig(), ["yes"])
    checked = [Utterance("a", audio, 1.0, "YES!")]
    assert check_manifest(checked, tokenizer=tokenizer, text=TextConfig(profile="letters")) == []
    assert len(check_manifest(checked, tokenizer=tokenizer, text=TextConfig(profile="none"))) == 1


def test_all_problems_are_reported_not_the_first_only(audio: Path) -> None:
    tokenizer = build_tokenizer(TokensConfig(), ["yes"])
    wrong = Utterance("a", audio, 5.0, "no", channel=7)
    problems = check_manifest([wrong, wrong], tokenizer=tokenizer)
    reasons = _reasons(problems)
    assert len(reasons) == 7
    assert sum("no channel 7" in reason for reason in reasons) == 2
    assert sum("not inside the file" in reason for reason in reasons) == 2
    assert sum("not in the vocabulary" in reason for reason in reasons) == 2
    assert reasons[-1] == "its id occurs more than once"


def test_a_file_is_probed_once(audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[Path] = []

    def probe(path: Path, pcm: PcmFormat | None) -> Any:
        probed.append(path)
        return probe_audio(path, pcm)

    probe_audio = checking.probe_audio
    monkeypatch.setattr(checking, "probe_audio", probe)
    parts = [Utterance(f"u{index}", audio, 0.1, "x", start_s=index / 10) for index in range(10)]
    assert check_manifest(parts) == []
    assert probed == [audio]


@pytest.mark.skipif("ASR_CORPORA" not in os.environ, reason="needs the corpora: set ASR_CORPORA")
def test_checking_a_corpus_is_quick() -> None:
    paths = sorted(Path(os.environ["ASR_CORPORA"]).glob("an4/wav/*/*/*.flac"))
    durations = [soundfile.info(path).duration for path in paths]
    corpus = [
        Utterance(path.stem, path, duration, "yes")
        for path, duration in zip(paths, durations, strict=True)
    ]
    start = time.process_time()
    assert check_manifest(corpus) == []
    assert time.process_time() - start < 1.0
