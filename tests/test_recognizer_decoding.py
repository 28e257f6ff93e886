"""A recogniser decodes as its file says, or as it is asked to; a tuned file needs nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from conftest import ToneModel

from asr.audio import Waveform
from asr.checkpoint import MODEL_KIND, load_tensors, save_tensors
from asr.decoder_setup import DecodingChoice, Development, StoredDecoding
from asr.decoding import BeamConfig, BeamDecoder, GreedyDecoder
from asr.errors import ModelFileError
from asr.lm.binary import model_to_bytes
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.manifest import read_manifest
from asr.model_evaluation import evaluate_model
from asr.recognizer import LM_TENSOR, Recognizer, store_decoding

DEVELOPMENT = Development(manifest="dev", utterances=20, words=43, greedy_errors=3, errors=2)
STORED = StoredDecoding(
    decoder="beam", beam=BeamConfig(beam_width=11), lm="embedded", development=DEVELOPMENT
)


@pytest.fixture(scope="module")
def lm_data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    text = tmp_path_factory.mktemp("lm") / "text"
    text.write_text("ba do mi\ndo do\nmi ba\n" * 5)
    return model_to_bytes(build_model([text], BuildOptions(order=2)).model)


@pytest.fixture
def tuned(tone_model: ToneModel, tmp_path: Path, lm_data: bytes) -> Path:
    path = tmp_path / "tuned.safetensors"
    shutil.copy(tone_model.path, path)
    store_decoding(path, STORED, lm_data)
    return path


def waveforms(tone_model: ToneModel, recognizer: Recognizer) -> list[Waveform]:
    return [recognizer.read(one.audio_path) for one in read_manifest(tone_model.dev)]


def test_an_untuned_file_is_decoded_greedily(tone_model: ToneModel) -> None:
    recognizer = Recognizer.load(tone_model.path, "cpu")
    assert isinstance(recognizer.decoder, GreedyDecoder)
    assert recognizer.decoding == "greedy"
    assert evaluate_model(recognizer, tone_model.dev).lines()[-2] == "decoding: greedy"


def test_a_tuned_file_brings_its_decoder_and_language_model(
    tone_model: ToneModel, tuned: Path
) -> None:
    recognizer = Recognizer.load(tuned, "cpu")
    assert isinstance(recognizer.decoder, BeamDecoder)
    expected = (
        "beam search, width 11, 2-gram language model of the model file "
        "(weight 0.5, word bonus 1), open vocabulary"
    )
    assert recognizer.decoding == expected
    evaluation = evaluate_model(recognizer, tone_model.dev)
    assert f"decoding: {expected}" in evaluation.lines()
    assert evaluation.report.words.rate < 0.2


def test_many_are_decoded_in_threads_as_each_alone(tone_model: ToneModel, tuned: Path) -> None:
    recognizer = Recognizer.load(tuned, "cpu", DecodingChoice(settings={"num_threads": 2}))
    emissions = recognizer.emissions(waveforms(tone_model, recognizer))
    alone = [recognizer.decoder.decode(one)[0] for one in emissions]
    assert recognizer.decode(emissions) == alone
    greedy = recognizer.with_decoding(DecodingChoice(decoder="greedy"))
    assert greedy.decode(emissions) == [greedy.decoder.decode(one)[0] for one in emissions]


def test_another_decoder_leaves_the_recogniser_as_it_was(tuned: Path) -> None:
    recognizer = Recognizer.load(tuned, "cpu")
    other = recognizer.with_decoding(DecodingChoice(decoder="greedy"))
    assert isinstance(other.decoder, GreedyDecoder)
    assert isinstance(recognizer.decoder, BeamDecoder)
    assert other.model is recognizer.model


def test_storing_keeps_everything_else_and_replaces_what_was_stored(
    tone_model: ToneModel, tuned: Path, lm_data: bytes
) -> None:
    before, documents = load_tensors(tone_model.path, MODEL_KIND)
    after, tuned_documents = load_tensors(tuned, MODEL_KIND)
    assert set(after) - set(before) == {LM_TENSOR}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert tuned_documents == documents | {"decoding": STORED.document()}
    without = STORED.model_copy(update={"lm": "none"})
    store_decoding(tuned, without, None)
    last, last_documents = load_tensors(tuned, MODEL_KIND)
    assert set(last) == set(before)
    assert last_documents["decoding"]["lm"] == "none"
    store_decoding(tuned, STORED, lm_data)
    assert load_tensors(tuned, MODEL_KIND)[1] == tuned_documents


@pytest.mark.parametrize(
    "tensor", [torch.zeros(100), torch.zeros(2, 5, dtype=torch.uint8), torch.zeros(0).byte()]
)
def test_what_is_no_language_model_is_refused(tuned: Path, tensor: torch.Tensor) -> None:
    tensors, documents = load_tensors(tuned, MODEL_KIND)
    save_tensors(tuned, MODEL_KIND, tensors | {LM_TENSOR: tensor}, documents)
    with pytest.raises(ModelFileError, match=r"tuned\.safetensors"):
        Recognizer.load(tuned, "cpu")


def test_a_flipped_language_model_is_refused_or_harmless(tuned: Path) -> None:
    """Whatever the bytes are: an error, or a model whose queries stay inside."""
    tensors, documents = load_tensors(tuned, MODEL_KIND)
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for _ in range(40):
        data = tensors[LM_TENSOR].clone()
        place = int(torch.randint(len(data), (1,), generator=generator))
        data[place] ^= 1 << int(torch.randint(8, (1,), generator=generator))
        save_tensors(tuned, MODEL_KIND, tensors | {LM_TENSOR: data}, documents)
        try:
            recognizer = Recognizer.load(tuned, "cpu")
        except ModelFileError:
            refused += 1
            continue
        log_probs = torch.zeros(30, len(recognizer.tokenizer.vocab)).log_softmax(1).numpy()
        recognizer.decode([log_probs])
    assert refused > 5


def test_a_document_that_is_damaged_is_refused(tuned: Path) -> None:
    tensors, documents = load_tensors(tuned, MODEL_KIND)
    documents["decoding"]["beam"]["beam_width"] = -1
    save_tensors(tuned, MODEL_KIND, tensors, documents)
    with pytest.raises(ModelFileError, match=r"does not read: setting `beam\.beam_width`"):
        Recognizer.load(tuned, "cpu")
