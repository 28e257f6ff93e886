"""`prepare`: whole or not at all, the same every time, one bad file named and left out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus_files import damage, write_audio_file, write_lines

from asr.corpora import CORPORA, MADE_CORPORA, load_importer, prepare
from asr.corpora.listing import Importer
from asr.errors import AsrError, ConfigError, DataError
from asr.manifest import Problem, Utterance, check_manifest, read_manifest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty speakers with two recordings each, as a folder."""
    folder = tmp_path / "source"
    for speaker in range(20):
        for take in range(2):
            path = write_audio_file(folder / f"s{speaker:02}/t{take}.wav", 0.1 * (take + 1))
            write_lines(path.with_suffix(".txt"), f"Words of {speaker}.")
    return folder


def run(source: Path, out: Path, **options: object) -> dict[str, list[Utterance]]:
    return prepare("folder", source, out, {"speaker_folders": True, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_manifests_hold_what_is_returned(source: Path, tmp_path: Path) -> None:
    splits = run(source, tmp_path / "out")
    assert {name: len(utterances) for name, utterances in splits.items()} == {
        "train": 32,
        "dev": 4,
        "test": 4,
    }
    for name, utterances in splits.items():
        assert read_manifest(tmp_path / "out" / f"{name}.jsonl") == utterances
        assert check_manifest(utterances) == []
    first = splits["train"][0]
    assert first.text == "Words of 0."
    assert first.duration_s == pytest.approx(0.1)
    assert first.audio_path.is_absolute()


def test_two_runs_write_the_same_bytes(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "a")
    run(source, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(contents(tmp_path / "a")) == {"train.jsonl", "dev.jsonl", "test.jsonl"}


def test_utterances_are_sorted_by_id(source: Path, tmp_path: Path) -> None:
    for utterances in run(source, tmp_path / "out").values():
        names = [one.id for one in utterances]
        assert names == sorted(names)


def test_bad_audio_is_reported_and_the_rest_prepared(source: Path, tmp_path: Path) -> None:
    bad = damage(source / "s03/t0.wav")
    problems: list[Problem] = []
    splits = prepare("folder", source, tmp_path / "out", {}, problems.append)
    assert [problem.utterance_id for problem in problems] == ["s03-t0"]
    assert str(bad) in problems[0].reason
    names = {one.id for utterances in splits.values() for one in utterances}
    assert len(names) == 39 and "s03-t0" not in names


def test_bad_audio_stops_when_nobody_is_told(source: Path, tmp_path: Path) -> None:
    damage(source / "s03/t0.wav")
    damage(source / "s04/t1.wav")
    with pytest.raises(DataError, match=r"2 utterances of .* cannot be used; first: s03-t0: "):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_splits_do_not_depend_on_damage(source: Path, tmp_path: Path) -> None:
    whole = run(source, tmp_path / "a")
    damage(source / "s03/t0.wav")
    rest = prepare("folder", source, tmp_path / "b", {"speaker_folders": True}, lambda _: None)
    for name, utterances in rest.items():
        assert utterances == [one for one in whole[name] if one.id != "s03-t0"]


def test_a_split_that_damage_leaves_empty_is_named(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splits = run(source, tmp_path / "a")
    assert not caplog.messages
    for one in splits["dev"]:
        damage(one.audio_path)
    prepare("folder", source, tmp_path / "b", {"speaker_folders": True}, lambda _: None)
    num = len(splits["dev"])
    assert caplog.messages == [f"warning: dev is empty: all {num} utterances of it left out"]
    assert not (tmp_path / "b/dev.jsonl").exists()


def test_nothing_usable_is_an_error(source: Path, tmp_path: Path) -> None:
    for path in source.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no utterance of .*source can be used; first: s00-t0: "):
        prepare("folder", source, tmp_path / "out", {}, lambda _: None)
    assert not (tmp_path / "out").exists()


def test_manifests_of_another_run_do_not_stay(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(source, tmp_path / "out")
    (tmp_path / "out/notes.jsonl").write_text("mine", encoding="utf-8")
    assert not caplog.messages
    run(source, tmp_path / "out", dev_fraction=0)
    assert caplog.messages == [f"{tmp_path / 'out/dev.jsonl'} is removed: it is not of this run"]
    assert set(contents(tmp_path / "out")) == {"train.jsonl", "test.jsonl", "notes.jsonl"}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Three speakers of three digits, as the Free Spoken Digit Dataset has them."""
    for number in range(9):
        write_audio_file(tmp_path / f"fsdd/{number // 3}_ann{number % 3}_0.wav")
    return tmp_path / "fsdd"


def test_parts_of_another_run_do_not_stay(
    digits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    prepare("fsdd", digits, out, {"test_speaker": "ann0", "connected": 2})
    (out / "test-mine.jsonl").write_bytes((out / "test-connected.jsonl").read_bytes())
    prepare("fsdd", digits, out, {"test_speaker": "ann1", "varied": 2, "dev_speaker": "none"})
    manifests = {"train", "test", "train-isolated", "train-varied", "test-isolated", "test-mine"}
    assert {path.stem for path in out.glob("[!.]*.jsonl")} == manifests
    assert f"{out / 'test-connected.jsonl'} is removed: it is not of this run" in caplog.messages
    prepare("fsdd", digits, out, {})
    left = {path.name for path in out.iterdir() if path.is_file()}
    assert left == {"train.jsonl", "dev.jsonl", "test.jsonl", "test-mine.jsonl"}


def test_a_part_that_was_changed_since_is_not_removed(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("fsdd", digits, out, {"connected": 2})
    with (out / "test-connected.jsonl").open("a", encoding="utf-8") as part:
        part.write("\n")
    prepare("fsdd", digits, out, {})
    assert {path.name for path in out.glob("*-*.jsonl")} == {"test-connected.jsonl"}


def test_failing_while_writing_leaves_the_old_parts(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asr.corpora import preparation

    def fail(path: Path, utterances: list[Utterance], *, absolute: bool) -> None:
        raise DataError("the disk is full")

    out = tmp_path / "out"
    prepare("fsdd", digits, out, {"connected": 2})
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr(preparation, "write_manifest", fail)
    with pytest.raises(DataError, match="the disk is full"):
        prepare("fsdd", digits, out, {})
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_manifest_is_not_replaced_by_what_is_made_of_it(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(DataError, match=r"train\.jsonl is read and would be overwritten"):
        prepare("joined", tmp_path / "out/train.jsonl", tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    "content", [b'{"audio_filepath": "a.wav", "text": "x"}\n', b"\xff\n", b"1"]
)
def test_what_is_no_manifest_is_not_replaced(source: Path, tmp_path: Path, content: bytes) -> None:
    """Such as another corpus's own; here it would be removed, as nothing is held out."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/test.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"test\.jsonl would be overwritten, and is no manifest"):
        run(source, tmp_path / "out", test_fraction=0)
    assert contents(tmp_path / "out") == {"test.jsonl": content}
    (tmp_path / "out/test.jsonl").write_bytes(b"")
    run(source, tmp_path / "out")
    assert len(read_manifest(tmp_path / "out/test.jsonl")) == 4


def _kaldi(folder: Path) -> None:
    places = sorted(folder.rglob("*.wav"))
    write_lines(folder / "wav.scp", *(f"{place.stem} {place}" for place in places))
    write_lines(folder / "text", *(f"{place.stem} words" for place in places))


def _csv(folder: Path) -> None:
    write_lines(folder / "train.csv", "audio,text", *(f"{one},x" for one in folder.rglob("*.wav")))


def _folder(folder: Path) -> None:
    write_lines(folder / "transcripts.txt", *(f"{one.stem} x" for one in folder.rglob("*.wav")))


@pytest.mark.parametrize(
    ("corpus", "make", "options"),
    [
        ("kaldi", _kaldi, {}),
        ("csv", _csv, {}),
        ("folder", _folder, {}),
        ("fsdd", lambda folder: None, {"connected": 2, "varied": 2}),
    ],
)
def test_a_corpus_is_prepared_into_its_own_directory_again_and_again(
    tmp_path: Path, corpus: str, make: Callable[[Path], None], options: dict[str, object]
) -> None:
    """Its files stay as they are, and what was written is not taken for more of them."""
    for number in range(9):
        write_audio_file(tmp_path / f"recordings/{number}_ann{number % 3}_0.wav")
    make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    first = prepare(corpus, tmp_path, tmp_path, options)
    assert prepare(corpus, tmp_path, tmp_path, options) == first
    assert {path: path.read_bytes() for path in before} == before


def test_failing_while_writing_leaves_the_old_manifests(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asr.corpora import preparation

    run(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    write = preparation.write_manifest

    def fail_at_test(path: Path, utterances: list[Utterance], *, absolute: bool) -> None:
        if "test" in path.name:
            raise DataError("the disk is full")
        write(path, utterances, absolute=absolute)

    monkeypatch.setattr(preparation, "write_manifest", fail_at_test)
    with pytest.raises(DataError, match="the disk is full"):
        run(source, tmp_path / "out", dev_fraction=0.3)
    assert contents(tmp_path / "out") == before


def test_an_interrupt_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asr.corpora import preparation

    def interrupt(path: Path, utterances: list[Utterance], *, absolute: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation, "write_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_a_corpus_below_out_is_named_relatively(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path)
    assert '"audio_path": "source/s' in (tmp_path / "train.jsonl").read_text(encoding="utf-8")


def test_manifests_behind_links_are_read_by_either_name(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/train.jsonl").symlink_to(source / "mine.jsonl")
    splits = run(source, tmp_path / "out")
    assert (tmp_path / "out/train.jsonl").is_symlink()
    for path in (tmp_path / "out/train.jsonl", source / "mine.jsonl"):
        assert read_manifest(path) == splits["train"]


def test_one_file_twice_is_probed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asr.corpora import preparation

    calls: list[Path] = []
    probe = preparation.probe_audio
    monkeypatch.setattr(
        preparation, "probe_audio", lambda path, pcm: (calls.append(path), probe(path, pcm))[1]
    )
    write_audio_file(tmp_path / "long.wav", 3.0)
    rows = [f"long.wav,{start},0.5,word" for start in range(3)]
    write_lines(tmp_path / "all.csv", "audio,start_s,duration_s,text", *rows)
    splits = prepare("csv", tmp_path, tmp_path / "out", {"split_by": "utterance"})
    assert sum(map(len, splits.values())) == 3
    assert len(calls) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_utf_8_are_reported(tmp_path: Path) -> None:
    for name in (os.fsdecode(b"gr\xfc\xdfe"), "words"):
        write_audio_file(tmp_path / "in/a.wav").rename(tmp_path / f"in/{name}.wav")
        write_lines(tmp_path / f"in/{name}.txt", "hello")
    problems: list[Problem] = []
    options = {"dev_fraction": 0, "test_fraction": 0}
    splits = prepare("folder", tmp_path / "in", tmp_path / "out", options, problems.append)
    assert [one.id for one in splits["train"]] == ["words"]
    assert [one.reason for one in problems] == ["a name in its path is not UTF-8; rename it"]


def test_ids_with_white_space_are_reported(tmp_path: Path) -> None:
    write_audio_file(tmp_path / "a.wav")
    write_lines(tmp_path / "all.csv", "audio,id,text", "a.wav,one,x", "a.wav,t w o,y")
    problems: list[Problem] = []
    options = {"dev_fraction": 0, "test_fraction": 0}
    prepare("csv", tmp_path, tmp_path / "out", options, problems.append)
    assert [problem.utterance_id for problem in problems] == ["t w o"]
    assert "white space" in problems[0].reason


def test_unknown_corpus_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        load_importer("speechocean")
    assert caught.value.hint == "did you mean 'speechocean762'?"
    with pytest.raises(ConfigError) as caught:
        prepare("qqqq", Path("x"), Path("y"))
    assert caught.value.hint is not None and "an4, librispeech" in caught.value.hint


def test_an_option_of_another_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare("an4", tmp_path, tmp_path / "out", {"test_speaker": "x"})
    assert caught.value.message == "the option test_speaker does not apply to an4"
    assert caught.value.hint == "it has dev_fraction; each may be given as --set NAME=VALUE"


def test_an_option_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`dev_fraction` in the options of an4.* got 1.5"):
        prepare("an4", tmp_path, tmp_path / "out", {"dev_fraction": 1.5})


def test_a_corpus_that_is_read_needs_a_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no source for an4"):
        prepare("an4", None, tmp_path)


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_corpus_has_an_importer_and_says_what_it_is(corpus: str) -> None:
    importer = load_importer(corpus)
    assert isinstance(importer, Importer)
    document = sys.modules[f"asr.corpora.{corpus}"].__doc__ or ""
    assert "Layout" in document or corpus == "csv"
    if corpus not in {*MADE_CORPORA, "kaldi", "nemo", "csv", "folder", "joined", "background"}:
        assert "Licence: " in document and "Address: http" in document


@pytest.mark.parametrize("corpus", sorted(set(CORPORA) - MADE_CORPORA))
def test_a_source_that_is_not_the_corpus_is_refused(corpus: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(AsrError) as caught:
            prepare(corpus, source, tmp_path / "out")
        assert source.name in caught.value.message
        assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_naming_the_corpora_imports_nothing_heavy() -> None:
    script = "import sys, asr.corpora; print({'numpy', 'soundfile', 'pydantic'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr
