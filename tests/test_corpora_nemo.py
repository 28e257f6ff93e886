"""NeMo manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpus_files import write_audio_file, write_lines

from asr.corpora import prepare
from asr.errors import DataError
from asr.manifest import Problem, Utterance, check_manifest


def manifest(path: Path, *lines: dict[str, object]) -> Path:
    return write_lines(path, *(json.dumps(line, ensure_ascii=False) for line in lines))


def line(name: str, **more: object) -> dict[str, object]:
    return {"audio_filepath": name, "text": f"text of {name}", **more}


def run(source: Path, out: Path, **options: object) -> dict[str, list[Utterance]]:
    return prepare("nemo", source, out, options)


WHOLE = {"dev_fraction": 0, "test_fraction": 0}


def test_a_manifest_is_divided_by_speaker(tmp_path: Path) -> None:
    lines = []
    for number in range(20):
        write_audio_file(tmp_path / f"wav/a{number:02}.wav", 0.5)
        lines.append(
            line(f"wav/a{number:02}.wav", duration=0.5, speaker=f"s{number // 2}", lang="x")
        )
    splits = run(manifest(tmp_path / "all.json", *lines), tmp_path / "out")
    assert {name: len(found) for name, found in splits.items()} == {
        "train": 16,
        "dev": 2,
        "test": 2,
    }
    first = splits["train"][0]
    assert first.text == f"text of wav/{first.id[-3:]}.wav"
    assert first.id.startswith("wav-a") and first.speaker in {f"s{n}" for n in range(10)}


@pytest.mark.parametrize("name", ["train.jsonl", "all.json"])
def test_manifests_are_not_written_among_those_that_are_read(tmp_path: Path, name: str) -> None:
    """They would replace them, or be taken for them the next time."""
    write_audio_file(tmp_path / "nemo/a.wav", 0.5)
    path = manifest(tmp_path / "nemo" / name, line("a.wav"))
    before = path.read_bytes()
    (tmp_path / "link").symlink_to("nemo")
    for out in (tmp_path / "nemo", tmp_path / "link"):
        with pytest.raises(DataError, match="would stand among those that it holds") as caught:
            run(tmp_path / "nemo", out, **WHOLE)
        assert caught.value.hint == f"write to another directory, such as --out {out / 'asr'}"
    assert path.read_bytes() == before
    assert len(run(tmp_path / "nemo", tmp_path / "nemo" / "asr", **WHOLE)["train"]) == 1


def test_offsets_and_missing_durations(tmp_path: Path) -> None:
    write_audio_file(tmp_path / "long.wav", 4.0)
    write_audio_file(tmp_path / "short.wav", 1.0)
    path = manifest(
        tmp_path / "all.jsonl",
        line("long.wav", offset=0, duration=1.5, speaker_id=7),
        line("long.wav", offset=1.5, duration=None, speaker=8),
        line("short.wav"),
    )
    found = run(path, tmp_path / "out", **WHOLE)["train"]
    assert [(one.id, one.start_s, one.duration_s, one.speaker) for one in found] == [
        ("long-0000000", 0.0, 1.5, "7"),
        ("long-0001500", 1.5, 2.5, "8"),
        ("short", 0.0, 1.0, None),
    ]
    assert check_manifest(found) == []


def test_a_folder_of_splits_with_nemos_names(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for name in ("train_manifest", "validation_manifest", "test_manifest"):
        write_audio_file(source / f"{name}.wav")
        manifest(source / f"{name}.json", line(f"{name}.wav"))
    splits = run(source, tmp_path / "out")
    assert [found[0].id for found in splits.values()] == [
        "train_manifest",
        "validation_manifest",
        "test_manifest",
    ]


def test_ids_do_not_depend_on_where_the_audio_lies(tmp_path: Path) -> None:
    ids = []
    for place in ("here", "over/there"):
        for name in ("x/a", "y/b"):
            write_audio_file(tmp_path / place / f"{name}.wav")
        lines = [line(str(tmp_path / place / f"{name}.wav")) for name in ("x/a", "y/b")]
        path = manifest(tmp_path / "manifests" / "all.json", *lines)
        ids.append([one.id for one in run(path, tmp_path / "out", **WHOLE)["train"]])
    assert ids == [["x-a", "y-b"]] * 2


def test_audio_root(tmp_path: Path) -> None:
    write_audio_file(tmp_path / "audio/a.wav")
    path = manifest(tmp_path / "lists/all.json", line("a.wav"))
    found = run(path, tmp_path / "out", audio_root=tmp_path / "audio", **WHOLE)["train"]
    assert (found[0].id, found[0].audio_path) == ("a", tmp_path / "audio/a.wav")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON: "),
        ("[1]", r"expected a JSON object, got \[1\]"),
        ('{"text": "a"}', "`audio_filepath` must be a string, got None"),
        ('{"audio_filepath": "", "text": "a"}', "`audio_filepath` is empty"),
        ('{"audio_filepath": "a.wav"}', "`text` must be a string, got None"),
        ('{"audio_filepath": "a.wav", "text": "", "duration": 0}', "`duration` must be above 0"),
        (
            '{"audio_filepath": "a.wav", "text": "", "duration": "1"}',
            ".* must be a number of seconds",
        ),
        ('{"audio_filepath": "a.wav", "text": "", "offset": -1}', "`offset` must be 0 or more"),
        ('{"audio_filepath": "a.wav", "text": "", "offset": NaN}', "NaN is not JSON"),
        (
            f'{{"audio_filepath": "a.wav", "text": "", "duration": 1{"0" * 400}}}',
            r"`duration` must be 0 or more seconds, got 1000*\.\.\.",
        ),
        (
            '{"audio_filepath": "a.wav", "text": "", "offset": true}',
            ".* must be a number of seconds",
        ),
    ],
)
def test_malformed_lines(tmp_path: Path, text: str, reason: str) -> None:
    path = write_lines(tmp_path / "all.json", json.dumps(line("b.wav")), text)
    with pytest.raises(DataError, match=f"all.json: line 2: {reason}"):
        run(path, tmp_path / "out")


def test_missing_audio_and_ranges_outside_are_reported(tmp_path: Path) -> None:
    write_audio_file(tmp_path / "a.wav", 1.0)
    write_audio_file(tmp_path / "b.wav", 1.0)
    path = manifest(
        tmp_path / "all.json",
        line("a.wav", duration=1.004),
        line("b.wav", duration=2.0),
        line("c.wav"),
    )
    problems: list[Problem] = []
    splits = prepare("nemo", path, tmp_path / "out", WHOLE, problems.append)
    # A few milliseconds are the rounding of the manifest; the file's own length counts.
    assert [(one.id, one.duration_s) for one in splits["train"]] == [("a", 1.0)]
    assert [problem.utterance_id for problem in problems] == ["b", "c"]
    assert "not inside the file" in problems[0].reason


def test_the_same_stretch_twice_is_refused(tmp_path: Path) -> None:
    write_audio_file(tmp_path / "a.wav")
    path = manifest(tmp_path / "all.json", line("a.wav"), line("a.wav"), line("b.wav"))
    with pytest.raises(DataError, match="utterance id 'a-0000000' is twice in train"):
        run(path, tmp_path / "out", **WHOLE)


def test_several_files_without_a_split(tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        manifest(tmp_path / "in" / name, line("a.wav"))
    with pytest.raises(DataError, match=r"found one.json, two.json") as caught:
        run(tmp_path / "in", tmp_path / "out")
    assert caught.value.hint == "name the file itself: --source FILE"
