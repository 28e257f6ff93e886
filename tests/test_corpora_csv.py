"""Tables with named columns."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest
from corpus_files import write_audio_file, write_lines

from asr.corpora import prepare
from asr.errors import ConfigError, DataError
from asr.manifest import Problem, Utterance, check_manifest

WHOLE = {"dev_fraction": 0, "test_fraction": 0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        write_audio_file(tmp_path / f"in/clips/{name}.wav", 1.0)
    return tmp_path / "in"


def run(source: Path, **options: object) -> dict[str, list[Utterance]]:
    return prepare("csv", source, source.parent / "out", options)


def test_columns_by_their_default_names(folder: Path) -> None:
    rows = ['clips/a.wav,"Hello, you.",x1,anna', 'clips/b.wav,"say ""no""",x2,bob']
    path = write_lines(folder / "all.csv", "audio,text,id,speaker", *rows)
    found = run(path, **WHOLE)["train"]
    assert [(one.id, one.text, one.speaker) for one in found] == [
        ("x1", "Hello, you.", "anna"),
        ("x2", 'say "no"', "bob"),
    ]


def test_columns_renamed_and_another_delimiter(folder: Path) -> None:
    write_lines(folder / "all.csv", "Datei;Satz;Wer", "clips/a.wav;Grüße, alle;")
    columns = {"audio": "Datei", "text": "Satz", "speaker": "Wer"}
    one = run(folder, column=columns, delimiter=";", **WHOLE)["train"][0]
    assert (one.id, one.text, one.speaker) == ("clips-a", "Grüße, alle", None)


def test_tsv_is_not_quoted(folder: Path) -> None:
    path = write_lines(folder / "all.tsv", "audio\ttext", 'clips/a.wav\t"Yes," she said')
    assert run(path, **WHOLE)["train"][0].text == '"Yes," she said'


def test_ranges(folder: Path) -> None:
    rows = ["clips/a.wav,0,0.25,x", "clips/a.wav,0.25,,y"]
    path = write_lines(folder / "all.csv", "audio,start_s,duration_s,text", *rows)
    found = run(path, **WHOLE)["train"]
    assert [(one.id, one.start_s, one.duration_s) for one in found] == [
        ("clips-a-0000000", 0.0, 0.25),
        ("clips-a-0000250", 0.25, 0.75),
    ]
    assert check_manifest(found) == []


def test_a_column_of_splits(folder: Path) -> None:
    rows = ["clips/a.wav,x,train", "clips/b.wav,y,Validation", "clips/c.wav,z,test"]
    path = write_lines(folder / "all.csv", "audio,text,split", *rows)
    splits = run(path)
    assert {name: [one.text for one in found] for name, found in splits.items()} == {
        "train": ["x"],
        "dev": ["y"],
        "test": ["z"],
    }


def test_a_table_for_each_split(folder: Path) -> None:
    for name, split in zip("abc", ("train", "dev", "test"), strict=True):
        write_lines(folder / f"{split}.csv", "audio,text", f"clips/{name}.wav,{name}")
    splits = run(folder)
    assert {name: found[0].text for name, found in splits.items()} == {
        "train": "a",
        "dev": "b",
        "test": "c",
    }


def test_one_speaker_is_refused_with_the_cure(folder: Path) -> None:
    rows = [f"clips/{name}.wav,text,me" for name in "abc"]
    path = write_lines(folder / "all.csv", "audio,text,speaker", *rows)
    with pytest.raises(DataError, match="all are of one speaker"):
        run(path)
    splits = run(path, split_by="utterance")
    assert {name: len(found) for name, found in splits.items()} == {"train": 1, "dev": 1, "test": 1}


def test_raw_files_and_channels(folder: Path) -> None:
    write_audio_file(folder / "d.raw", 0.5)
    write_audio_file(folder / "e.wav", 0.5, num_channels=2)
    path = write_lines(folder / "all.csv", "audio,text", "d.raw,x", "e.wav,y")
    problems: list[Problem] = []
    prepare("csv", path, folder.parent / "out", WHOLE, problems.append)
    assert [problem.utterance_id for problem in problems] == ["d"]
    raw, wav = run(path, raw="s16be:8000", **WHOLE)["train"]
    assert (raw.duration_s, wav.pcm) == (0.5, None)
    problems = []
    options = {"raw": "s16be:8000", "channel": 1, **WHOLE}
    splits = prepare("csv", path, folder.parent / "out", options, problems.append)
    assert [(one.id, one.channel) for one in splits["train"]] == [("e", 1)]
    assert "there is no channel 1" in problems[0].reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": {"words": "x"}}, "unknown field 'words'; fields are audio, text"),
        ({"delimiter": "ab"}, "delimiter"),
        ({"raw": "s16be"}, "expected ENCODING:RATE"),
        ({"raw": "s16le:8000²"}, "expected ENCODING:RATE"),
        ({"raw": "s17:8000"}, "unknown PCM encoding 's17'"),
        ({"raw": "s16le:8000:0"}, "num_channels must be 1"),
        ({"split_by": "room"}, "'speaker', 'recording' or 'utterance'"),
    ],
)
def test_impossible_options(folder: Path, options: dict[str, object], message: str) -> None:
    path = write_lines(folder / "all.csv", "audio,text", "clips/a.wav,x")
    with pytest.raises(ConfigError, match=message):
        run(path, **options)


def test_a_missing_column_names_those_there(folder: Path) -> None:
    path = write_lines(folder / "all.csv", "file,sentence", "clips/a.wav,x")
    with pytest.raises(DataError, match="no column 'audio'; it has file, sentence") as caught:
        run(path)
    assert caught.value.hint == "say which column is the audio: --column audio=NAME"
    columns = {"audio": "file", "text": "sentence", "speaker": "who"}
    with pytest.raises(DataError, match="no column 'who'"):
        run(path, column=columns)


def test_cells_of_another_delimiter_are_no_column(folder: Path) -> None:
    path = write_lines(folder / "all.csv", "audio;text", "clips/a.wav;x")
    with pytest.raises(DataError, match="no column 'audio'; it has audio;text") as caught:
        run(path)
    assert caught.value.hint == "say which character stands between its cells: --delimiter CHAR"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",x,0,train", "no audio path"),
        ("a.wav,x,-1,train", "start_s must be 0 or more seconds, got '-1'"),
        ("a.wav,x,soon,train", "start_s must be 0 or more seconds, got 'soon'"),
        ("a.wav,x,0,other", "split must be one of train, .* got 'other'"),
        ("a.wav,x,0", "3 cells where the header has 4"),
    ],
)
def test_malformed_rows(folder: Path, row: str, reason: str) -> None:
    path = write_lines(folder / "all.csv", "audio,text,start_s,split", "b.wav,y,0,train", row)
    with pytest.raises(DataError, match=f"all.csv: line 3: {reason}"):
        run(path)


def test_missing_audio_is_reported(folder: Path) -> None:
    path = write_lines(folder / "all.csv", "audio,text", "clips/a.wav,x", "clips/z.wav,y")
    problems: list[Problem] = []
    prepare("csv", path, folder.parent / "out", WHOLE, problems.append)
    assert [problem.utterance_id for problem in problems] == ["clips-z"]


@pytest.mark.parametrize(("in_names", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_written_otherwise_than_in_names(
    folder: Path, in_names: Literal["NFC", "NFD"], in_table: Literal["NFC", "NFD"]
) -> None:
    audio = write_audio_file(folder / f"{normalize(in_names, 'é/ü')}.wav")
    path = write_lines(folder / "all.csv", "audio,text", f"{normalize(in_table, 'é/ü')}.wav,x")
    found = run(path, **WHOLE)["train"]
    assert [one.audio_path for one in found] == [audio]


def test_the_same_file_in_two_splits(folder: Path) -> None:
    for split in ("train", "test"):
        write_lines(folder / f"{split}.csv", "audio,text", "clips/a.wav,x")
    with pytest.raises(DataError, match="'clips-a' is in test and in train"):
        run(folder, **WHOLE)
