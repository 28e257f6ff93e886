"""Adaptation without transcripts: better at a new voice, and nothing else of the model changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ToneModel, run_asr
from tones import RATE_HZ, write_tones

from asr.checkpoint import MODEL_KIND, load_tensors
from asr.decoder_setup import DecodingChoice
from asr.errors import DataError
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.model_adaptation import (
    LONGEST_S,
    Adaptation,
    AdaptOptions,
    AdaptRequest,
    adapt_model,
)
from asr.model_packing import pack_model
from asr.model_tuning import TuneRequest, tune_model

FAST = AdaptOptions(epochs=12, learning_rate=1e-2, share=1)
"""What a tiny model of tones takes."""
PITCH = 1.3
"""Of a voice that the model has not heard: it makes errors, but not in most words."""


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Manifests of two sets of recordings of the new voice."""
    folder = tmp_path_factory.mktemp("voice")
    return write_tones(folder, "some", 60, 3, PITCH), write_tones(folder, "others", 60, 4, PITCH)


@pytest.fixture(scope="module")
def tuned(tone_model: ToneModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model with settings of the beam search and a language model."""
    folder = tmp_path_factory.mktemp("tuned")
    model, lm = folder / "tuned.safetensors", folder / "lm.arpa"
    model.write_bytes(tone_model.path.read_bytes())
    text = folder / "text"
    text.write_text("".join(one.text + "\n" for one in read_manifest(tone_model.dev)))
    assert run_asr("lm", "build", text, "-o", lm, "--order", "2").returncode == 0
    tune_model(TuneRequest(model, [tone_model.dev], DecodingChoice(lms=[lm]), device="cpu"))
    return model


def adapt(model: Path, manifest: Path, target: Path, **more: object) -> Adaptation:
    values = {"options": FAST, "device": "cpu", **more}
    return adapt_model(AdaptRequest(model, read_manifest(manifest), target, **values))  # type: ignore[arg-type]


def test_a_voice_that_is_mostly_heard_right_is_heard_better(
    tone_model: ToneModel, voice: tuple[Path, Path], tmp_path: Path
) -> None:
    """In recordings that adapting did not have, too."""
    target = tmp_path / "adapted.safetensors"
    adaptation = adapt(tone_model.path, voice[0], target, dev=voice[1])
    before, after = (report.words.num_errors for report in adaptation.scores)
    assert 0 < before < 30
    assert after < before
    assert adaptation.is_written
    assert adaptation.num_used + adaptation.num_left_out == 60
    assert 0 < adaptation.num_changed < 30


def test_only_weights_change(tuned: Path, voice: tuple[Path, Path], tmp_path: Path) -> None:
    target, was = tmp_path / "adapted.safetensors", tuned.read_bytes()
    adapt(tuned, voice[0], target)
    assert tuned.read_bytes() == was
    (old, old_documents), (new, documents) = (
        load_tensors(path, MODEL_KIND) for path in (tuned, target)
    )
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed
    assert all(name.startswith("model.") for name in changed)
    training = documents.pop("training")
    adapted = training.pop("adapted")
    assert (adapted["from"], adapted["epochs"]) == ("tuned.safetensors", FAST.epochs)
    assert {**documents, "training": training} == old_documents
    assert "decoding" in documents


def test_transcripts_are_not_looked_at(
    tone_model: ToneModel, voice: tuple[Path, Path], tmp_path: Path
) -> None:
    wrong = [replace(one, text="never said") for one in read_manifest(voice[0])]
    paths = [tmp_path / f"{name}.safetensors" for name in ("one", "other")]
    adapt(tone_model.path, voice[0], paths[0])
    adapt_model(AdaptRequest(tone_model.path, wrong, paths[1], options=FAST, device="cpu"))
    one, other = (load_tensors(path, MODEL_KIND)[0] for path in paths)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_words_that_nobody_says_stay_known(tone_model: ToneModel, tmp_path: Path) -> None:
    utterances = [one for one in read_manifest(tone_model.dev) if one.text.split() == ["mi"]]
    assert utterances
    target = tmp_path / "adapted.safetensors"
    adapt_model(AdaptRequest(tone_model.path, utterances, target, options=FAST, device="cpu"))
    (_, old), (_, new) = (load_tensors(path, MODEL_KIND) for path in (tone_model.path, target))
    assert new["tokenizer"] == old["tokenizer"]


def test_a_share_is_a_point_on_the_way(
    tone_model: ToneModel, voice: tuple[Path, Path], tmp_path: Path
) -> None:
    whole, quarter = tmp_path / "whole.safetensors", tmp_path / "quarter.safetensors"
    adapt(tone_model.path, voice[0], whole)
    adapt(tone_model.path, voice[0], quarter, options=FAST.model_copy(update={"share": 0.25}))
    start, part, end = (
        load_tensors(path, MODEL_KIND)[0] for path in (tone_model.path, quarter, whole)
    )
    assert start.keys() == part.keys() == end.keys()
    for name in start:
        expected = 0.75 * start[name] + 0.25 * end[name]
        assert torch.allclose(part[name], expected, atol=1e-6), name


def test_a_packed_model_can_be_adapted(
    tone_model: ToneModel, voice: tuple[Path, Path], tmp_path: Path
) -> None:
    packed, target = tmp_path / "packed.safetensors", tmp_path / "adapted.safetensors"
    pack_model(tone_model.path, packed, "int8")
    adaptation = adapt(packed, voice[0], target, dev=voice[1])
    assert adaptation.is_written
    before, after = (report.words.num_errors for report in adaptation.scores)
    assert after < before
    names = [set(load_tensors(path, MODEL_KIND)[0]) for path in (target, tone_model.path)]
    assert names[0] == names[1]


def test_each_round_hears_anew(
    tone_model: ToneModel, voice: tuple[Path, Path], tmp_path: Path
) -> None:
    once, twice, again = (tmp_path / f"{name}.safetensors" for name in ("once", "twice", "again"))
    adapt(tone_model.path, voice[0], once)
    adapt(once, voice[0], again)
    adapt(tone_model.path, voice[0], twice, options=FAST.model_copy(update={"rounds": 2}))
    two, one_by_one = (load_tensors(path, MODEL_KIND)[0] for path in (twice, again))
    assert all(torch.equal(two[name], one_by_one[name]) for name in two)


def test_what_makes_a_model_worse_is_not_written(
    tone_model: ToneModel, voice: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "adapted.safetensors"
    target.write_text("as it was")
    ruinous = AdaptOptions(epochs=2, learning_rate=1.0, share=1)
    adaptation = adapt(tone_model.path, voice[0], target, dev=voice[1], options=ruinous)
    assert not adaptation.is_written
    assert target.read_text() == "as it was"
    done = run_asr(
        *("adapt", tone_model.path, voice[0], "-o", target, "--dev", voice[1]),
        *("--rate", "1", "--epochs", "2", "--share", "1"),
    )
    assert done.returncode == 1
    assert f"error: {target} is not written: the model is better as it is" in done.stderr
    assert done.stdout.splitlines()[-2].startswith("before: %WER")
    assert target.read_text() == "as it was"


def test_one_bad_recording_is_named_and_the_others_are_used(
    tone_model: ToneModel, voice: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, target = tmp_path / "recordings", tmp_path / "adapted.safetensors"
    folder.mkdir()
    for one in read_manifest(voice[0])[:20]:
        (folder / one.audio_path.name).write_bytes(one.audio_path.read_bytes())
    (folder / "bad.wav").write_bytes(b"RIFF")
    soundfile.write(folder / "quiet.wav", np.zeros(RATE_HZ), RATE_HZ)
    done = run_asr("adapt", tone_model.path, folder, "-o", target, "--rate", "0.01")
    assert done.returncode == 1
    assert "bad.wav" in done.stderr
    first, second, written = done.stdout.splitlines()
    num_used, num_left_out = int(first.split()[2]), int(second.split()[-1])
    assert first.startswith("adapted to ")
    assert num_used + num_left_out == 21  # the quiet one is left out
    assert num_left_out >= 1
    assert written == str(target)
    assert target.exists()


def test_long_recordings_are_cut_between_words(tone_model: ToneModel, tmp_path: Path) -> None:
    parts = [soundfile.read(one.audio_path)[0] for one in read_manifest(tone_model.dev)]
    path, target = tmp_path / "long.wav", tmp_path / "adapted.safetensors"
    samples = np.concatenate(parts * 4)
    soundfile.write(path, samples, RATE_HZ)
    long = Utterance("long", path, len(samples) / RATE_HZ, "")
    assert long.duration_s > LONGEST_S
    adaptation = adapt_model(AdaptRequest(tone_model.path, [long], target, device="cpu"))
    assert adaptation.num_used > 5
    assert adaptation.num_left_out == 0
    assert adaptation.used_s == pytest.approx(long.duration_s, abs=0.1)


def test_development_recordings_must_all_be_there(
    tone_model: ToneModel, voice: tuple[Path, Path], tmp_path: Path
) -> None:
    dev, target = tmp_path / "dev.jsonl", tmp_path / "adapted.safetensors"
    gone = Utterance("gone", tmp_path / "gone.wav", 1.0, "ba")
    write_manifest(dev, [*read_manifest(voice[1]), gone])
    with pytest.raises(DataError, match="gone: there is no file"):
        adapt(tone_model.path, voice[0], target, dev=dev)
    assert not target.exists()


def test_what_cannot_be_adapted_to_is_refused(tone_model: ToneModel, tmp_path: Path) -> None:
    quiet, missing = tmp_path / "quiet.wav", tmp_path / "missing.wav"
    soundfile.write(quiet, np.zeros(RATE_HZ), RATE_HZ)
    target = tmp_path / "adapted.safetensors"
    for path, message in (
        (quiet, "in none of 1 recordings a word is heard"),
        (missing, "no recording to adapt to can be read"),
    ):
        request = AdaptRequest(tone_model.path, [Utterance("a", path, 1.0, "")], target)
        with pytest.raises(DataError, match=message):
            adapt_model(request)
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rounds", "0"), "rounds"),
        (("--rate", "nan"), "learning_rate"),
        (("--epochs", "0"), "epochs"),
        (("--share", "0"), "share"),
    ],
)
def test_settings_out_of_range_are_refused(
    tone_model: ToneModel, tmp_path: Path, options: tuple[str, str], message: str
) -> None:
    done = run_asr("adapt", tone_model.path, tone_model.dev, "-o", tmp_path / "o", *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "o").exists()


def test_neither_the_model_nor_a_recording_is_overwritten(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    recording = read_manifest(tone_model.dev)[0].audio_path
    for output in (tone_model.path, recording, tone_model.dev):
        was = output.read_bytes()
        done = run_asr("adapt", tone_model.path, tone_model.dev, "-o", output)
        assert done.returncode == 1
        assert "would be overwritten" in done.stderr
        assert output.read_bytes() == was
