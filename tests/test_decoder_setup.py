"""What the user asks for goes over what the model file stores, and that over the defaults."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr.cli.decoding_options import DecodingOptions
from asr.config import Options
from asr.decoder_setup import (
    DecoderSource,
    DecodingChoice,
    Development,
    StoredDecoding,
    beam_setup,
    choose_decoder,
    decodes_greedily,
    parse_stored,
)
from asr.decoding import BeamConfig, BeamDecoder, GreedyDecoder, Knowledge
from asr.decoding.calibration import Calibration
from asr.errors import AsrError, ConfigError, DataError, ModelFileError
from asr.lm.binary import model_to_bytes, write_binary
from asr.lm.files import read_model
from asr.text import TextConfig
from asr.tokens import tokenizer_from_dict

TOKENIZER = tokenizer_from_dict({"kind": "char", "vocab": ["<blank>", " ", *"abdo"]})
SOURCE = DecoderSource(TOKENIZER, 0.04, TextConfig(profile="lower"))
DEVELOPMENT = Development(manifest="dev.jsonl", utterances=3, words=9, greedy_errors=4, errors=2)
ARPA = "\\data\\\nngram 1={n}\n\n\\1-grams:\n{lines}\n\n\\end\\\n"


def write_arpa(path: Path, words: list[str]) -> Path:
    """Unigrams, the first the most probable."""
    lines = [f"{-0.5 - index / 2}\t{word}" for index, word in enumerate([*words, "</s>"])]
    lines.append("-99\t<s>")
    path.write_text(ARPA.format(n=len(lines), lines="\n".join(lines)))
    return path


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    return write_arpa(tmp_path / "lm.arpa", ["do", "ba"])


def stored(**changes: Any) -> StoredDecoding:
    values = {"decoder": "beam", "beam": BeamConfig(lm_weight=0.7), "lm": "none"}
    return StoredDecoding.model_validate(values | {"development": DEVELOPMENT} | changes)


def source(lm_data: bytes | None = None, **changes: Any) -> DecoderSource:
    of_file = stored(**changes)
    return DecoderSource(TOKENIZER, 0.04, SOURCE.text, of_file, lm_data, Path("m.safetensors"))


def test_without_wishes_and_settings_it_is_greedy() -> None:
    chosen = choose_decoder(SOURCE, DecodingChoice())
    assert isinstance(chosen.decoder, GreedyDecoder)
    assert chosen.description == "greedy"


@pytest.mark.parametrize(
    "wish",
    [
        {"decoder": "beam"},
        {"settings": {"beam_width": 5}},
        {"phrases": ["do"]},
    ],
)
def test_what_only_the_beam_can_do_takes_the_beam(wish: dict[str, Any]) -> None:
    chosen = choose_decoder(SOURCE, DecodingChoice(**wish))
    assert isinstance(chosen.decoder, BeamDecoder)


def test_every_file_of_the_choice_takes_the_beam(arpa: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("do\nba\n")
    for name in ("lexicon", "hotwords"):
        setup = beam_setup(SOURCE, DecodingChoice(**{name: words}))
        assert not decodes_greedily(None, DecodingChoice(**{name: words}))
        assert DecodingChoice(lms=[arpa], **{name: words}).files() == [arpa, words]
        assert setup.describe().startswith("beam search, width 100, ")
    assert not decodes_greedily(None, DecodingChoice(lms=[arpa]))


@pytest.mark.parametrize(
    ("changes", "choice", "greedy"),
    [
        ({}, {}, False),
        ({"decoder": "greedy"}, {}, True),
        ({"decoder": "greedy"}, {"decoder": "beam"}, False),
        ({"decoder": "greedy"}, {"phrases": ["do"]}, False),
        ({}, {"decoder": "greedy"}, True),
        ({"lm": "elsewhere"}, {}, True),
        ({"lm": "elsewhere"}, {"ignore_lm": True}, False),
        ({"lm": "elsewhere"}, {"lms": [Path("x")]}, False),
    ],
)
def test_which_decoder_a_tuned_file_gets(
    changes: dict[str, Any], choice: dict[str, Any], greedy: bool
) -> None:
    assert decodes_greedily(stored(**changes), DecodingChoice(**choice)) is greedy


def test_stored_settings_are_used_and_given_ones_go_over_them(arpa: Path) -> None:
    tuned = source(beam=BeamConfig(beam_width=7, lm_weight=0.25))
    setup = beam_setup(tuned, DecodingChoice(lms=[arpa], settings={"beam_width": 9}))
    assert (setup.config.beam_width, setup.config.lm_weight) == (9, 0.25)
    assert setup.describe() == (
        "beam search, width 9, 1-gram lm.arpa (weight 0.25, word bonus 1), open vocabulary"
    )


def test_the_language_model_of_the_file_is_used_unless_refused_or_replaced(
    arpa: Path, tmp_path: Path
) -> None:
    tuned = source(model_to_bytes(read_model(arpa)), lm="embedded")
    knowledge = beam_setup(tuned, DecodingChoice()).knowledge
    assert knowledge.lm is not None
    assert knowledge.lm.words == read_model(arpa).words
    assert beam_setup(tuned, DecodingChoice(ignore_lm=True)).knowledge.lm is None
    other = write_arpa(tmp_path / "other.arpa", ["bad"])
    replaced = beam_setup(tuned, DecodingChoice(lms=[other])).knowledge.lm
    assert replaced is not None
    assert "bad" in replaced.words


def test_without_the_language_model_its_closed_vocabulary_goes_too(arpa: Path) -> None:
    beam = BeamConfig(vocabulary="closed")
    tuned = source(model_to_bytes(read_model(arpa)), lm="embedded", beam=beam)
    assert beam_setup(tuned, DecodingChoice()).config.vocabulary == "closed"
    choose_decoder(tuned, DecodingChoice(ignore_lm=True))
    with_words = source(lexicon=["do"], beam=beam)
    assert beam_setup(with_words, DecodingChoice(ignore_lm=True)).config.vocabulary == "closed"


def test_confidences_are_calibrated_only_for_the_search_they_were_fitted_with(arpa: Path) -> None:
    fitted = Calibration(bias=0.3, num_words=500)
    data = model_to_bytes(read_model(arpa))
    tuned = source(data, lm="embedded", beam=BeamConfig(calibration=fitted))
    elsewhere = source(lm="elsewhere", beam=BeamConfig(calibration=fitted))
    without = source(lm="none", beam=BeamConfig(calibration=fitted))
    with_lm, no_lm = DecodingChoice(lms=[arpa]), DecodingChoice(ignore_lm=True)
    kept = [(tuned, DecodingChoice(phrases=["do"])), (elsewhere, with_lm), (without, no_lm)]
    for model, choice in kept:
        assert beam_setup(model, choice).config.calibration == fitted
    others = [(tuned, with_lm), (tuned, no_lm), (elsewhere, no_lm), (without, with_lm)]
    for model, choice in others:
        assert beam_setup(model, choice).config.calibration == Calibration()


def test_of_the_calibration_what_is_not_asked_for_stays_as_it_was_fitted(arpa: Path) -> None:
    fitted = Calibration(bias=0.3, posterior_weight=0.9, num_words=500)
    tuned = source(lm="none", beam=BeamConfig(calibration=fitted))
    asked = DecodingOptions(set_=["calibration.bias=-1"]).choice().settings
    found = beam_setup(tuned, DecodingChoice(settings=asked)).config
    assert found.calibration == fitted.model_copy(update={"bias": -1.0})
    other = beam_setup(tuned, DecodingChoice(lms=[arpa], settings=asked)).config
    assert other.calibration == Calibration(bias=-1.0)
    whole = DecodingChoice(settings={"calibration": Calibration(bias=2.0)})
    assert beam_setup(tuned, whole).config.calibration == Calibration(bias=2.0)


def test_a_vocabulary_closed_without_a_language_model_stays_closed_without_it() -> None:
    """As a model of phones has it, whose words are those of its dictionary."""
    tuned = source(lm="none", beam=BeamConfig(vocabulary="closed"))
    assert beam_setup(tuned, DecodingChoice(ignore_lm=True)).config.vocabulary == "closed"


def test_the_stored_lexicon_is_used_unless_replaced(tmp_path: Path) -> None:
    tuned = source(lexicon=["do", "ba"])
    assert beam_setup(tuned, DecodingChoice()).knowledge.lexicon == ("do", "ba")
    (tmp_path / "l").write_text("BAD B AE D\n")
    setup = beam_setup(tuned, DecodingChoice(lexicon=tmp_path / "l"))
    assert setup.knowledge.lexicon == ["bad"]
    assert setup.describe() == "beam search, width 100, lexicon of 1 words, open vocabulary"


def test_several_models_are_mixed(arpa: Path, tmp_path: Path) -> None:
    other = write_arpa(tmp_path / "other.arpa", ["bad", "do"])
    lms = [arpa, other]
    for mix in ((), (0.5, 0.5)):
        lm = beam_setup(SOURCE, DecodingChoice(lms=lms, mix=mix)).knowledge.lm
        assert lm is not None
        expected = (10**-0.5 + 10**-1) / 2
        assert lm.word_log_probs(["do"])[0] == pytest.approx(math.log(expected), abs=1e-5)
    with pytest.raises(ConfigError, match="--lm-mix has 1 weights for 2 language models; give one"):
        beam_setup(SOURCE, DecodingChoice(lms=lms, mix=(1.0,)))


def test_the_weight_of_a_single_model_is_one(arpa: Path) -> None:
    assert beam_setup(SOURCE, DecodingChoice(lms=[arpa], mix=(1.0,))).knowledge.lm is not None
    with pytest.raises(DataError, match=r"1 model with weights 0\.5"):
        beam_setup(SOURCE, DecodingChoice(lms=[arpa], mix=(0.5,)))


def test_hotwords_of_file_and_command_line(tmp_path: Path) -> None:
    (tmp_path / "h").write_text("DO BA\t2\nbad\t1\n")
    choice = DecodingChoice(hotwords=tmp_path / "h", phrases=["Bad=5"])
    setup = beam_setup(SOURCE, choice)
    assert setup.knowledge.hotwords == {"do ba": 2.0, "bad": 5.0}
    assert setup.describe() == "beam search, width 100, 2 hotwords"


WORDS = tokenizer_from_dict({"kind": "word", "vocab": ["<blank>", "then", "hen", "ten"]})


@pytest.mark.parametrize("option", ["lexicon", "grammar", "hotwords"])
def test_a_model_of_words_refuses_others_of_the_same_letters(tmp_path: Path, option: str) -> None:
    words = DecoderSource(WORDS, 0.04, SOURCE.text)
    (tmp_path / "names").write_text("net\n")
    with pytest.raises(DataError, match="net") as caught:
        choose_decoder(words, DecodingChoice(**{option: tmp_path / "names"}))
    assert "then hen ten" in (caught.value.hint or "")
    with pytest.raises(DataError, match="'net' is not a word of the model; its words are then hen"):
        BeamDecoder(WORDS, 0.04, knowledge=Knowledge(hotwords={"hen net": 3.0}))


def test_a_model_of_words_refuses_a_language_model_of_others(tmp_path: Path) -> None:
    lm = write_arpa(tmp_path / "lm.arpa", ["net", "teen"])
    with pytest.raises(DataError, match="can write only 0 of its 2 words"):
        choose_decoder(DecoderSource(WORDS, 0.04, SOURCE.text), DecodingChoice(lms=[lm]))


def test_a_hotword_changes_what_is_heard() -> None:
    log_probs = np.log(np.full((2, 6), 0.01))
    log_probs[0, 3], log_probs[1, 5], log_probs[1, 2] = (
        math.log(0.95),
        math.log(0.55),
        math.log(0.4),
    )
    log_probs = (log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)).astype("f4")
    plain = choose_decoder(SOURCE, DecodingChoice(decoder="beam")).decoder
    favoured = choose_decoder(SOURCE, DecodingChoice(phrases=["BA"])).decoder
    assert plain.decode(log_probs)[0].text == "bo"
    assert favoured.decode(log_probs)[0].text == "ba"


def test_what_the_user_names_joins_a_closed_vocabulary_of_others(
    arpa: Path, tmp_path: Path
) -> None:
    closed = source(beam=BeamConfig(vocabulary="closed"), lexicon=("do",))
    setup = beam_setup(closed, DecodingChoice(phrases=["Bad do"]))
    assert setup.knowledge.lexicon == ["do", "bad"]
    of_lm = {"lms": [arpa], "settings": {"vocabulary": "closed"}}
    assert beam_setup(SOURCE, DecodingChoice(**of_lm)).knowledge.lexicon is None
    known = beam_setup(SOURCE, DecodingChoice(**of_lm, phrases=["bad"])).knowledge.lexicon
    assert known == ["do", "ba", "bad"]
    opened = DecodingChoice(settings={"vocabulary": "open"}, phrases=["bad"])
    assert beam_setup(closed, opened).knowledge.lexicon == ("do",)

    (tmp_path / "rules").write_text("bad do\n")
    ruled = beam_setup(closed, DecodingChoice(grammar=tmp_path / "rules"))
    assert ruled.knowledge.lexicon == ["do", "bad"]

    (tmp_path / "words").write_text("do\n")
    written = DecodingChoice(lexicon=tmp_path / "words", phrases=["bad"])
    with pytest.raises(DataError, match="'bad' is not in the lexicon"):
        choose_decoder(closed, written)
    written = DecodingChoice(lexicon=tmp_path / "words", grammar=tmp_path / "rules")
    with pytest.raises(DataError, match="line 1: 'bad' can never be said: it is not in the lex"):
        choose_decoder(closed, written)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"decoder": "greedy", "lms": [Path("x")]}, "greedy decoding does not know --lm; use"),
        ({"decoder": "greedy", "phrases": ["do"]}, "greedy decoding does not know --hotword;"),
        ({"lms": [Path("x")], "ignore_lm": True}, "--lm and --no-lm exclude each other"),
        ({"settings": {"beam_width": 0}}, "setting `beam_width` in the command line: "),
        ({"settings": {"vocabulary": "closed"}}, "a closed vocabulary needs words"),
        ({"lms": [Path("/none")]}, "cannot read /none: No such file"),
        ({"lexicon": Path("/none")}, "cannot read /none: No such file"),
        ({"hotwords": Path("/none")}, "cannot read /none: No such file"),
        ({"phrases": ["xyz"]}, "the hotword 'xyz': 'xyz' cannot be recognised: the model writes"),
    ],
)
def test_impossible_wishes_are_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(AsrError) as caught:
        choose_decoder(SOURCE, DecodingChoice(**choice))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "given", "missing"),
    [
        ({"off_grammar_score": -5.0}, (), "a grammar"),
        ({"off_grammar_score": -5.0}, ("lm", "lexicon"), "a grammar"),
        ({"lm_weight": 0.7}, (), "a language model"),
        ({"lm_weight": 0.7}, ("lexicon", "grammar"), "a language model"),
        ({"word_bonus": 2.0}, ("lexicon",), "a language model"),
        ({"lm_unit": "token"}, (), "a language model"),
        ({"unknown_score": -3.0}, ("grammar",), "a lexicon or a language model of words"),
        ({"unknown_letter_score": -3.0}, (), "a lexicon or a language model of words"),
        ({"unknown_score": -3.0, "vocabulary": "closed"}, ("lm",), "an open vocabulary"),
        ({"unknown_score": -3.0, "vocabulary": "closed"}, ("lexicon",), "an open vocabulary"),
        (
            {"unknown_letter_score": -3.0, "vocabulary": "closed"},
            ("lm", "lexicon"),
            "an open vocabulary",
        ),
    ],
)
def test_a_setting_that_nothing_looks_at_is_refused(
    arpa: Path, tmp_path: Path, setting: dict[str, Any], given: tuple[str, ...], missing: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_decoder(SOURCE, choice_of(given, setting, arpa, tmp_path))
    name = next(iter(setting))
    assert caught.value.message == f"{name} does nothing without {missing}"
    assert (caught.value.hint or "").endswith(f", or leave {name} out")


@pytest.mark.parametrize(
    ("setting", "given"),
    [
        ({"off_grammar_score": -5.0}, ("grammar",)),
        ({"lm_weight": 0.7, "word_bonus": 2.0, "lm_unit": "word"}, ("lm",)),
        ({"unknown_score": -3.0, "unknown_letter_score": -3.0}, ("lm",)),
        ({"unknown_score": -3.0, "unknown_letter_score": -3.0}, ("lexicon",)),
        ({"unknown_score": -3.0, "vocabulary": "closed"}, ("lm", "lexicon")),
        ({"beam_threshold": 9.0, "token_threshold": 5.0, "num_best": 2, "num_threads": 1}, ()),
    ],
)
def test_a_setting_with_what_it_is_for_is_taken(
    arpa: Path, tmp_path: Path, setting: dict[str, Any], given: tuple[str, ...]
) -> None:
    config = beam_setup(SOURCE, choice_of(given, setting, arpa, tmp_path)).config
    assert {name: getattr(config, name) for name in setting} == setting


def test_a_weight_of_the_stored_language_model_may_be_given(arpa: Path) -> None:
    tuned = source(model_to_bytes(read_model(arpa)), lm="embedded")
    choice = DecodingChoice(settings={"lm_weight": 0.9})
    assert beam_setup(tuned, choice).config.lm_weight == 0.9
    with pytest.raises(ConfigError, match="lm_weight does nothing without a language model"):
        beam_setup(tuned, DecodingChoice(ignore_lm=True, settings={"lm_weight": 0.9}))
    beam_setup(tuned, DecodingChoice(ignore_lm=True))  # stored, not given


def choice_of(
    given: tuple[str, ...], settings: dict[str, Any], arpa: Path, directory: Path
) -> DecodingChoice:
    """What a user asks for, with those of `lm`, `lexicon` and `grammar` that are given."""
    words = directory / "words"
    words.write_text("do\nbad\n")
    return DecodingChoice(
        lms=[arpa] if "lm" in given else (),
        lexicon=words if "lexicon" in given else None,
        grammar=words if "grammar" in given else None,
        settings=settings,
    )


def test_a_language_model_in_capitals_is_refused_with_the_cure(tmp_path: Path) -> None:
    capitals = write_arpa(tmp_path / "up.arpa", ["DO", "BA"])
    with pytest.raises(DataError) as caught:
        beam_setup(SOURCE, DecodingChoice(lms=[capitals]))
    assert caught.value.message == (
        "up.arpa: the model can write only 0 of its 2 words (not 'DO', say); it writes abdo"
    )
    assert "normalised by the profile 'lower': asr lm build TEXT" in (caught.value.hint or "")


def test_a_language_model_mostly_in_other_letters_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = write_arpa(tmp_path / "mixed.arpa", ["do", "Ba", "xyz"])
    with caplog.at_level(logging.WARNING):
        beam_setup(SOURCE, DecodingChoice(lms=[mixed]))
    assert "can write only 1 of its 3 words (not 'Ba', say)" in caplog.text


def test_words_left_out_of_a_lexicon_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "l").write_text("do\nxyz\n")
    with caplog.at_level(logging.WARNING):
        beam_setup(SOURCE, DecodingChoice(lexicon=tmp_path / "l"))
    assert "l, line 2: the model cannot write the word 'xyz'" in caplog.text


def test_a_file_without_its_language_model_says_so_when_the_beam_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="tuned with a language model that it does not hold"):
        choose_decoder(source(lm="elsewhere"), DecodingChoice(decoder="beam"))
    with pytest.raises(ModelFileError, match=r"m\.safetensors lacks its language model"):
        choose_decoder(source(lm="embedded"), DecodingChoice())


@pytest.mark.parametrize("content", [b"", b"asrngram", b"x" * 500])
def test_a_damaged_language_model_is_refused_by_the_name_of_the_file(content: bytes) -> None:
    with pytest.raises(ModelFileError) as caught:
        beam_setup(source(content, lm="embedded"), DecodingChoice())
    assert caught.value.message.startswith("the language model in m.safetensors is no usable ")


def test_cut_short_anywhere_it_is_refused(arpa: Path) -> None:
    whole = model_to_bytes(read_model(arpa))
    for length in range(0, len(whole), 37):
        with pytest.raises(ModelFileError):
            beam_setup(source(whole[:length], lm="embedded"), DecodingChoice())


def test_the_bytes_are_those_of_the_binary_file(arpa: Path, tmp_path: Path) -> None:
    write_binary(read_model(arpa), tmp_path / "lm.bin")
    assert model_to_bytes(read_model(arpa)) == (tmp_path / "lm.bin").read_bytes()


def test_the_document_round_trips_as_json() -> None:
    beam = BeamConfig(beam_threshold=math.inf, lm_weight=0.3, num_threads=3, num_best=4)
    document = stored(beam=beam, lexicon=["do"]).document()
    text = json.dumps(document, allow_nan=False)
    back = parse_stored(json.loads(text), Path("m"))
    assert back.beam == BeamConfig(beam_threshold=math.inf, lm_weight=0.3)
    assert back.lexicon == ("do",)
    assert back.development == DEVELOPMENT
    assert isinstance(back, Options)


@pytest.mark.parametrize("change", [{"beam": {"wings": 1}}, {"decoder": "best"}, {"lm": None}])
def test_a_document_of_another_release_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="decoding settings this release does not read"):
        parse_stored(stored().document() | change, Path("m"))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"decoder": "viterbi"}, "unknown decoder 'viterbi'; one of auto, greedy, beam"),
        ({"phrases": "ab ba"}, "phrases must be a list of phrases, got 'ab ba'"),
        ({"lms": "lm.arpa"}, r"lms must be a list of files, got 'lm\.arpa'"),
        ({"lms": Path("lm.arpa")}, r"lms must be a list of files, got .*lm\.arpa"),
        ({"mix": 0.5}, r"mix must be a list of weights, got 0\.5"),
        ({"phrases": ["ab", 3]}, r"phrases must be a list of phrases, got \['ab', 3\]"),
        ({"lms": [None]}, r"lms must be a list of files, got \[None\]"),
        ({"mix": ["0.5"]}, r"mix must be a list of weights, got \['0\.5'\]"),
        ({"settings": ["num_best=5"]}, "settings must be values by their names, got"),
        ({"lexicon": ["ab", "ba"]}, "lexicon must be a file, got list"),
    ],
)
def test_a_wish_of_another_kind_is_refused(wish: dict[str, Any], message: str) -> None:
    """A text for a list would otherwise be taken for the list of its letters."""
    with pytest.raises(ConfigError, match=message):
        DecodingChoice(**wish)


def test_names_of_files_are_files(tmp_path: Path) -> None:
    lm = write_arpa(tmp_path / "lm.arpa", ["ab", "ba"])
    words = tmp_path / "words.txt"
    words.write_text("ab\nba\n")
    as_text: dict[str, Any] = {"lms": [str(lm)], "lexicon": str(words), "grammar": str(words)}
    as_paths: dict[str, Any] = {"lms": [lm], "lexicon": words, "grammar": words}
    assert DecodingChoice(**as_text) == DecodingChoice(**as_paths)
    described = choose_decoder(SOURCE, DecodingChoice(**as_text)).description
    assert described == choose_decoder(SOURCE, DecodingChoice(**as_paths)).description


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"lexicon": "abba"}, "lexicon must be a list of words, got the text 'abba'"),
        ({"lexicon": Path("words")}, "lexicon must be a list of words, got .*Path; read a file"),
        ({"lexicon": iter(["ab"])}, "lexicon must be a list of words, got list_iterator; "),
        ({"lexicon": {"ab"}}, "lexicon must be a list of words, got set; .*, make a list of"),
        ({"lexicon": ["ab", 7]}, "words of the lexicon must be text, got 7"),
        ({"hotwords": ["ab"]}, "hotwords must be bonuses by phrase; got list"),
        ({"hotwords": {"ab": "6"}}, "hotwords must be numbers by text, got 'ab': '6'"),
        ({"hotwords": {"ab": 2.0, 7: 1.0}}, "hotwords must be numbers by text, got 7: 1.0"),
        ({"lm": "lm.arpa"}, "lm must be a model, such as .* gives; got str"),
        ({"grammar": "ab ba"}, "grammar must be a grammar, as .* gives; got str"),
    ],
)
def test_knowledge_of_another_kind_is_refused(known: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Knowledge(**known)


def test_lists_of_words_and_numbers_of_any_kind_are_knowledge() -> None:
    Knowledge(lexicon=("ab",), hotwords={"ab": 6, "ba": np.float32(2.5)})
    Knowledge(lexicon=[], hotwords={})
