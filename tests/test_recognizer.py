"""A recogniser gives the same alone, batched, from a file or from a waveform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import ToneModel
from scipy.special import logsumexp

from asr.audio import ReadOptions, Waveform
from asr.checkpoint import MODEL_KIND, load_tensors, save_tensors
from asr.errors import ConfigError, DataError, ModelFileError
from asr.experiment import build_model, num_output_frames
from asr.manifest import read_manifest
from asr.model import AcousticModel
from asr.model_evaluation import evaluate_model
from asr.recognizer import MUTED_S, NOT_SAID, Recognizer, choose_device, transcribe_each


@pytest.fixture(scope="module")
def recognizer(tone_model: ToneModel) -> Recognizer:
    return Recognizer.load(tone_model.path, "cpu")


@pytest.fixture(scope="module")
def waveforms(tone_model: ToneModel, recognizer: Recognizer) -> list[Waveform]:
    return [recognizer.read(one.audio_path) for one in read_manifest(tone_model.dev)]


def test_emissions_are_normalised_and_as_long_as_the_audio(
    recognizer: Recognizer, waveforms: list[Waveform]
) -> None:
    for log_probs, waveform in zip(recognizer.emissions(waveforms), waveforms, strict=True):
        np.testing.assert_allclose(logsumexp(log_probs, axis=1), 0, atol=1e-4)
        assert len(log_probs) * recognizer.frame_s == pytest.approx(waveform.duration_s, abs=0.05)


def test_batched_is_alone(recognizer: Recognizer, waveforms: list[Waveform]) -> None:
    together = recognizer.emissions(waveforms)
    for waveform, log_probs in zip(waveforms, together, strict=True):
        np.testing.assert_allclose(recognizer.emissions([waveform])[0], log_probs, atol=1e-4)
    texts = [hypothesis.text for hypothesis in recognizer.transcribe_many(waveforms)]
    assert texts == [recognizer.transcribe(waveform).text for waveform in waveforms]


def test_a_file_is_its_waveform(
    recognizer: Recognizer, waveforms: list[Waveform], tone_model: ToneModel
) -> None:
    path = read_manifest(tone_model.dev)[0].audio_path
    assert recognizer.transcribe(path) == recognizer.transcribe(waveforms[0])
    assert recognizer.transcribe(str(path)) == recognizer.transcribe(waveforms[0])


def test_many_are_files_and_waveforms(
    recognizer: Recognizer, waveforms: list[Waveform], tone_model: ToneModel
) -> None:
    first, second = (one.audio_path for one in read_manifest(tone_model.dev)[:2])
    found = recognizer.transcribe_many([first, str(second), waveforms[0]])
    alone = [recognizer.transcribe(one).text for one in waveforms[:2]]
    assert [hypothesis.text for hypothesis in found] == [*alone, alone[0]]


@pytest.mark.parametrize(
    "audio", ["a/x.flac", Path("a/x.flac"), Waveform(np.zeros(9), 8000), None, 3]
)
def test_one_is_not_many(recognizer: Recognizer, audio: Any) -> None:
    """A name would be taken apart: `a`, `/` and so on, each as a file."""
    with pytest.raises(DataError, match="must be a list of files and waveforms, got one"):
        recognizer.transcribe_many(audio)


def test_what_is_no_list_of_emissions_is_refused(
    recognizer: Recognizer, waveforms: list[Waveform]
) -> None:
    found = recognizer.emissions(waveforms[:1])
    for emissions in (iter(found), None):
        with pytest.raises(DataError, match="emissions must be a list of arrays, got one "):
            recognizer.decode(emissions)  # type: ignore[arg-type]
    assert recognizer.decode(np.stack(found)) == recognizer.decode(found)  # type: ignore[arg-type]


def test_what_is_no_choice_is_refused(recognizer: Recognizer, tone_model: ToneModel) -> None:
    for choice in (None, {"decoder": "greedy"}):
        with pytest.raises(ConfigError, match=r"choice must be a DecodingChoice, got \w+; such as"):
            recognizer.with_decoding(choice)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="got str"):
        Recognizer.load(tone_model.path, "cpu", "greedy")  # type: ignore[arg-type]


def test_of_nothing_there_is_nothing(recognizer: Recognizer) -> None:
    assert recognizer.transcribe_many([]) == []
    assert recognizer.emissions([]) == []
    assert recognizer.decode_n_best([]) == []


def test_where_nothing_was_recorded_nothing_was_said(
    recognizer: Recognizer, waveforms: list[Waveform]
) -> None:
    """Beside an utterance in the same batch, which stays as it is."""
    silence = Waveform(np.zeros(4000, np.float32), 8000)
    silent, spoken = recognizer.emissions([silence, waveforms[0]])
    assert (silent[:, 0] == 0).all() and (silent[:, 1:] == NOT_SAID).all()
    np.testing.assert_allclose(spoken, recognizer.emissions([waveforms[0]])[0], atol=1e-4)
    assert recognizer.transcribe(silence).text == ""


@pytest.mark.parametrize(("before_s", "after_s"), [(0.0, 3.0), (2.71, 0.0), (5.003, 1.2)])
def test_muted_ends_are_blank_and_shift_what_is_said(
    recognizer: Recognizer, waveforms: list[Waveform], before_s: float, after_s: float
) -> None:
    rate_hz, frame_s = recognizer.sample_rate_hz, recognizer.frame_s
    spoken = waveforms[0].samples

    def muted(before: int, after: int) -> Waveform:
        return Waveform(np.pad(spoken, (before, after)), rate_hz)

    step, most = round(frame_s * rate_hz), round(MUTED_S * rate_hz)
    before, after = round(before_s * rate_hz), round(after_s * rate_hz)
    num_left_out = max(0, before - most) // step
    heard = muted(before - num_left_out * step, min(after, most))
    whole, near = recognizer.emissions([muted(before, after)])[0], recognizer.emissions([heard])[0]
    np.testing.assert_allclose(whole[num_left_out:][: len(near)], near, atol=1e-4)
    ends = np.concatenate([whole[:num_left_out], whole[num_left_out + len(near) :]])
    assert (ends[:, 0] == 0).all() and (ends[:, 1:] == NOT_SAID).all()
    frames = num_output_frames(recognizer.front_end, recognizer.model, before + len(spoken) + after)
    assert len(whole) == frames
    words, shifted = (recognizer.transcribe(one).words for one in (heard, muted(before, after)))
    assert [word.text for word in shifted] == [word.text for word in words]
    assert [word.start_s for word in shifted] == pytest.approx(
        [word.start_s + num_left_out * frame_s for word in words]
    )


def test_samples_without_their_rate_are_refused(recognizer: Recognizer) -> None:
    samples: Any = np.zeros(8000, "f4")
    for compute in (recognizer.emissions, recognizer.emissions_many):
        with pytest.raises(DataError, match=r"waveform 0 must be a Waveform, got ndarray; say the"):
            compute([samples])
        for alone in (samples, Waveform(samples, 8000)):
            kind = type(alone).__name__
            with pytest.raises(
                DataError, match=f"waveforms must be a list of them, got one {kind}"
            ):
                compute(alone)
    with pytest.raises(DataError, match="waveform 0 must be a Waveform"):
        recognizer.features(samples)


@pytest.mark.parametrize("audio", [np.zeros(8000, "f4"), torch.zeros(8000), None, 3, b"a.wav"])
def test_what_is_neither_file_nor_waveform_is_refused(
    recognizer: Recognizer, audio: object
) -> None:
    kind = type(audio).__name__
    message = rf"audio must be a file or a Waveform, got {kind}; .*Waveform\(samples, sample_rate"
    with pytest.raises(DataError, match=message):
        recognizer.transcribe(audio)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_read_only_samples_are_taken(recognizer: Recognizer, waveforms: list[Waveform]) -> None:
    content = waveforms[0].samples.tobytes()
    frozen = Waveform(np.frombuffer(content, np.float32), waveforms[0].sample_rate_hz)
    assert not frozen.samples.flags.writeable
    assert recognizer.transcribe(frozen) == recognizer.transcribe(waveforms[0])
    np.testing.assert_array_equal(recognizer.features(frozen), recognizer.features(waveforms[0]))


def test_another_rate_is_resampled(recognizer: Recognizer, waveforms: list[Waveform]) -> None:
    doubled = [
        Waveform(np.repeat(waveform.samples, 2), 2 * waveform.sample_rate_hz)
        for waveform in waveforms
    ]
    same = sum(
        recognizer.transcribe(one).text == recognizer.transcribe(other).text
        for one, other in zip(waveforms, doubled, strict=True)
    )
    assert same >= len(waveforms) - 1


def test_word_times_lie_on_the_tones(recognizer: Recognizer, tone_model: ToneModel) -> None:
    """Tones are 0.125 to 0.175 s with silence around; CTC places a word near its tone."""
    for utterance in read_manifest(tone_model.dev):
        words = recognizer.transcribe(utterance.audio_path).words
        assert all(0 <= word.start_s < word.end_s <= utterance.duration_s + 0.05 for word in words)
        assert [word.start_s for word in words] == sorted(word.start_s for word in words)


def test_one_bad_file_among_many_is_reported(recognizer: Recognizer, tone_model: ToneModel) -> None:
    utterances = read_manifest(tone_model.dev)
    sources = [(one.id, one.audio_path, ReadOptions(sample_rate_hz=8000)) for one in utterances]
    sources.insert(3, ("missing", Path("/nowhere.wav"), ReadOptions()))
    results = dict(transcribe_each(recognizer, sources))
    assert list(results) == [name for name, _, _ in sources]
    assert isinstance(results["missing"], DataError)
    assert sum(isinstance(result, DataError) for result in results.values()) == 1


def test_audio_shorter_than_a_window_is_refused_by_name(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "click.wav", np.zeros(50), 8000)
    (result,) = transcribe_each(recognizer, [("c", tmp_path / "click.wav", ReadOptions())])
    assert "click.wav lasts 0.0063 s, shorter than one analysis window of 0.025 s" in str(result[1])


def test_the_waveform_that_is_too_short_is_named(
    recognizer: Recognizer, waveforms: list[Waveform], tmp_path: Path
) -> None:
    click = Waveform(np.zeros(50, np.float32), 8000)
    many = [*waveforms[:2], click]
    for call in (recognizer.transcribe_many, recognizer.emissions_many, recognizer.emissions):
        with pytest.raises(DataError, match=r"^waveform 2 lasts 0\.0063 s, shorter than one"):
            call(many)
    soundfile.write(tmp_path / "click.wav", click.samples, 8000)
    with pytest.raises(DataError, match=r"click\.wav lasts 0\.0063 s, shorter than one"):
        recognizer.transcribe(tmp_path / "click.wav")


def test_a_model_is_loaded_by_its_name(tone_model: ToneModel) -> None:
    assert Recognizer.load(str(tone_model.path), "cpu").frame_s > 0
    assert Recognizer.load("digits", "cpu").sample_rate_hz == 16000
    with pytest.raises(ModelFileError, match=r"dgits: no such file.*did you mean 'digits'"):
        Recognizer.load("dgits", "cpu")


def test_evaluation_scores_the_manifest(recognizer: Recognizer, tone_model: ToneModel) -> None:
    evaluation = evaluate_model(recognizer, tone_model.dev)
    assert evaluation.report.words.num_references == 43
    assert evaluation.report.words.rate < 0.2
    assert not evaluation.failures
    assert evaluation.lines()[0].startswith("%WER ")


def test_evaluation_of_nothing_readable_is_refused(
    recognizer: Recognizer, tone_model: ToneModel, tmp_path: Path
) -> None:
    copy = tmp_path / "dev.jsonl"
    copy.write_text(tone_model.dev.read_text())
    with pytest.raises(DataError, match=r"no utterance of .* can be read"):
        evaluate_model(recognizer, copy)


@pytest.mark.parametrize("lost", ["config", "tokenizer"])
def test_a_model_without_a_document_is_refused(
    tone_model: ToneModel, tmp_path: Path, lost: str
) -> None:
    tensors, documents = load_tensors(tone_model.path, MODEL_KIND)
    del documents[lost]
    save_tensors(tmp_path / "m", MODEL_KIND, tensors, documents)
    with pytest.raises(ModelFileError, match=f"lacks its {lost}"):
        Recognizer.load(tmp_path / "m", "cpu")


def test_a_model_with_unknown_settings_is_refused(tone_model: ToneModel, tmp_path: Path) -> None:
    tensors, documents = load_tensors(tone_model.path, MODEL_KIND)
    documents["config"]["model"]["wings"] = 2
    save_tensors(tmp_path / "m", MODEL_KIND, tensors, documents)
    with pytest.raises(ModelFileError, match=r"unknown setting `model\.wings`"):
        Recognizer.load(tmp_path / "m", "cpu")


def test_a_model_whose_weights_do_not_fit_is_refused(tone_model: ToneModel, tmp_path: Path) -> None:
    tensors, documents = load_tensors(tone_model.path, MODEL_KIND)
    documents["config"]["model"]["units"] = 25
    save_tensors(tmp_path / "m", MODEL_KIND, tensors, documents)
    with pytest.raises(ModelFileError, match="expected"):
        Recognizer.load(tmp_path / "m", "cpu")


def test_layers_that_the_file_does_not_hold_take_no_memory(
    tone_model: ToneModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 layers of 8192 units would be 300 GB."""
    built = []

    def build(*arguments: Any) -> AcousticModel:
        built.append(build_model(*arguments))
        return built[-1]

    monkeypatch.setattr("asr.recognizer.build_model", build)
    tensors, documents = load_tensors(tone_model.path, MODEL_KIND)
    documents["config"]["model"] |= {"units": 8192, "num_layers": 32}
    save_tensors(tmp_path / "m", MODEL_KIND, tensors, documents)
    with pytest.raises(ModelFileError, match="does not fit its configuration: 248 tensors missing"):
        Recognizer.load(tmp_path / "m", "cpu")
    documents["config"]["model"] |= {"num_layers": 1}
    save_tensors(tmp_path / "m", MODEL_KIND, tensors, documents)
    with pytest.raises(ModelFileError, match=r"expected torch.float32 \(32768, "):
        Recognizer.load(tmp_path / "m", "cpu")
    assert len(built) == 2
    assert all(weight.is_meta for model in built for weight in model.parameters())


@pytest.mark.parametrize(
    "features",
    [{"sample_rate_hz": 10**9, "window_ms": 1e5}, {"window_ms": 1e5}, {"num_mels": 100_000}],
)
def test_a_model_with_features_beyond_measure_is_refused(
    tone_model: ToneModel, tmp_path: Path, features: dict[str, float]
) -> None:
    tensors, documents = load_tensors(tone_model.path, MODEL_KIND)
    documents["config"]["features"] |= features
    save_tensors(tmp_path / "m", MODEL_KIND, tensors, documents)
    with pytest.raises(ModelFileError, match=r"setting `features\..*less than or equal to"):
        Recognizer.load(tmp_path / "m", "cpu")


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown device 'gpu0'; use auto, cpu or cuda"):
        choose_device("gpu0")
    for other in ("mps", "meta", "xpu:0"):  # PyTorch knows them, and models do not run on them here
        with pytest.raises(ConfigError, match=f"unknown device '{other}'"):
            choose_device(other)
    with pytest.raises(ConfigError, match="unknown device None"):
        choose_device(None)  # type: ignore[arg-type]
    assert choose_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no CUDA device is present"):
            choose_device("cuda")
