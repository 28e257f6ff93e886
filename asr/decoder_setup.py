"""Which decoder recognises: what the user asks for, what the model file stores, or greedy.

A model file may hold the settings that `asr tune` found on development data, and the language model
and lexicon that belong to them. They are used unless the user says otherwise: what is asked for
goes over what is stored, and that goes over the defaults. The beam search decodes when the file
holds settings for it, or when something is asked for that only it can do; else decoding is greedy.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

from asr.config import Options, parse_options
from asr.decoding import BeamConfig, BeamDecoder, Decoder, GreedyDecoder, Knowledge
from asr.decoding.grammar import read_grammar
from asr.decoding.grammar_rules import Grammar
from asr.errors import ConfigError, DataError, ModelFileError
from asr.lm.binary import model_from_bytes
from asr.lm.compact import is_compact, model_from_compact
from asr.lm.files import read_model
from asr.lm.ngram import NgramModel
from asr.text import TextConfig, normalize
from asr.tokens import ADD_WORDS, PhoneTokenizer, Pronunciation, Tokenizer
from asr.tokens.dictionary import read_dictionary
from asr.word_files import parse_hotwords, read_hotwords, read_lexicon, shown_writable

log = logging.getLogger(__name__)

DecoderName = Literal["auto", "greedy", "beam"]
OWN_SETTINGS = frozenset({"num_best", "num_threads"})
"""Of one command on one machine; never stored."""
MODEL_FILE_LM = "language model of the model file"


@dataclass(frozen=True)
class DecodingChoice:
    """What a user asks for. Files may be given by their names as text.

    Attributes:
        decoder: ``auto``: see the module.
        lms: Language model files; several are mixed into one.
        mix: Their weights, adding up to 1; none for equal ones.
        ignore_lm: Do without the language model of the model file.
        lexicon, hotwords: Files; see `asr.word_files`.
        grammar: File; see `asr.decoding.grammar`.
        phrases: More hotwords, `phrase` or `phrase=weight`.
        pronunciations: More words for a model of phones, and how they sound; a file that
            `asr.tokens.dictionary` reads.
        settings: Values of `BeamConfig` by name.

    Raises:
        ConfigError: There is no such decoder, or a value is of another kind: one text for a list.
    """

    decoder: DecoderName = "auto"
    lms: Sequence[Path] = ()
    mix: Sequence[float] = ()
    ignore_lm: bool = False
    lexicon: Path | None = None
    hotwords: Path | None = None
    grammar: Path | None = None
    phrases: Sequence[str] = ()
    pronunciations: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what would be taken for something else, and make paths of file names."""
        if self.decoder not in get_args(DecoderName):
            known = ", ".join(get_args(DecoderName))
            raise ConfigError(f"unknown decoder {self.decoder!r}", hint=f"one of {known}")
        for name, of, kind in (
            ("lms", "files", str | os.PathLike),
            ("mix", "weights", Real),
            ("phrases", "phrases", str),
        ):
            value = getattr(self, name)
            if isinstance(value, str | Path) or not isinstance(value, Iterable):
                raise ConfigError(f"{name} must be a list of {of}, got {value!r}")
            value = tuple(value)
            if not all(isinstance(one, kind) for one in value):
                raise ConfigError(f"{name} must be a list of {of}, got {list(value)}")
            object.__setattr__(self, name, value)
        if not isinstance(self.settings, Mapping):
            raise ConfigError(f"settings must be values by their names, got {self.settings!r}")
        object.__setattr__(self, "lms", tuple(map(Path, self.lms)))
        for name in ("lexicon", "hotwords", "grammar", "pronunciations"):
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, Path(value))
            elif not (value is None or isinstance(value, Path)):
                raise ConfigError(f"{name} must be a file, got {type(value).__name__}")

    def files(self) -> list[Path]:
        """All that are read."""
        alone = (self.lexicon, self.hotwords, self.grammar, self.pronunciations)
        return [*self.lms, *(path for path in alone if path is not None)]

    def of_beam(self) -> list[str]:
        """Options given that only the beam search understands, as the command line names them."""
        given = {
            "--lm": self.lms,
            "--lm-mix": self.mix,
            "--lexicon": self.lexicon,
            "--hotwords": self.hotwords,
            "--hotword": self.phrases,
            "--grammar": self.grammar,
            "--pronunciations": self.pronunciations,
            "--beam and --set": self.settings,
        }
        return [name for name, value in given.items() if value]


class Development(Options):
    """On what data stored settings were found, and the word errors there."""

    manifest: str
    utterances: int
    words: int
    greedy_errors: int
    errors: int


class StoredDecoding(Options):
    """What a model file says of decoding.

    Attributes:
        decoder: What did best on the development data.
        beam: Settings of the beam search.
        lm: Whether they were found with a language model, and whether the file holds it.
        lexicon: Words of the lexicon, normalised; None without one.
        development: What they were found on.
    """

    decoder: Literal["greedy", "beam"]
    beam: BeamConfig
    lm: Literal["none", "embedded", "elsewhere"]
    lexicon: tuple[str, ...] | None = None
    development: Development

    def document(self) -> dict[str, Any]:
        """JSON-able; what depends on the machine is left out."""
        document: dict[str, Any] = _json_able(self.model_dump(mode="json"))
        document["beam"] = {
            name: value for name, value in document["beam"].items() if name not in OWN_SETTINGS
        }
        return document


def _json_able(value: Any) -> Any:
    """Infinities as text, which settings read back: JSON has no word for them."""
    if isinstance(value, dict):
        return {name: _json_able(one) for name, one in value.items()}
    return str(value) if isinstance(value, float) and math.isinf(value) else value


@dataclass(frozen=True)
class DecoderSource:
    """What a model brings to its decoder.

    Attributes:
        tokenizer: Of the model.
        frame_s: Seconds between frames of its log-probabilities.
        text: How its transcripts are normalised.
        stored: What its file says of decoding, if anything.
        lm_data: Language model in the file, as `model_to_bytes` or `model_to_compact` gave it.
        path: The file, for messages.
    """

    tokenizer: Tokenizer
    frame_s: float
    text: TextConfig
    stored: StoredDecoding | None = None
    lm_data: bytes | None = None
    path: Path = Path("the model file")

    def without_settings(self) -> DecoderSource:
        """The same with the settings of the beam search by default, to find others."""
        if self.stored is None:
            return self
        beam = BeamConfig(lm_unit=self.stored.beam.lm_unit)
        return replace(self, stored=self.stored.model_copy(update={"beam": beam}))


@dataclass(frozen=True)
class ChosenDecoder:
    """A decoder, and what people are told of it."""

    decoder: Decoder
    description: str


@dataclass(frozen=True)
class BeamSetup:
    """All that a beam search is built from.

    Attributes:
        tokenizer: Of the model, with the words that the user adds.
        config: Settings.
        knowledge: What counts beside the sound.
        lm_name: What to call the language model; empty without one.
    """

    tokenizer: Tokenizer
    config: BeamConfig
    knowledge: Knowledge
    lm_name: str = ""

    def describe(self) -> str:
        """One line: width, and what counts beside the sound.

        >>> from asr.tokens import CharTokenizer
        >>> tokenizer = CharTokenizer(("<blank>", " ", "a"))
        >>> BeamSetup(tokenizer, BeamConfig(beam_width=50), Knowledge()).describe()
        'beam search, width 50'
        """
        parts = [f"beam search, width {self.config.beam_width}"]
        if self.knowledge.lm is not None:
            parts.append(
                f"{self.knowledge.lm.order}-gram {self.lm_name} "
                f"(weight {self.config.lm_weight:g}, word bonus {self.config.word_bonus:g})"
            )
        if self.knowledge.lexicon is not None:
            parts.append(f"lexicon of {len(self.knowledge.lexicon)} words")
        if self.knowledge.lm is not None or self.knowledge.lexicon is not None:
            parts.append(f"{self.config.vocabulary} vocabulary")
        if self.knowledge.hotwords:
            parts.append(f"{len(self.knowledge.hotwords)} hotwords")
        if self.knowledge.grammar is not None:
            strict = math.isinf(self.config.off_grammar_score)
            price = "" if strict else f" (off it {self.config.off_grammar_score:g})"
            parts.append(f"grammar {Path(self.knowledge.grammar.source).name}{price}")
        return ", ".join(parts)


def parse_stored(document: Mapping[str, Any], path: Path) -> StoredDecoding:
    """What `StoredDecoding.document` gave.

    Raises:
        ModelFileError: It is damaged, or of another release.
    """
    try:
        return parse_options(StoredDecoding, document, str(path))
    except ConfigError as error:
        raise ModelFileError(
            f"{path} holds decoding settings this release does not read: {error}",
            hint="find them again with `asr tune`",
        ) from None


def choose_decoder(source: DecoderSource, choice: DecodingChoice) -> ChosenDecoder:
    """The decoder of the module's rule.

    Raises:
        ConfigError: The wishes contradict each other, a setting is wrong or lacks what it is for,
            or the language model that the stored settings belong to is missing; or `choice` is
            of another kind.
        DataError: A file that is asked for cannot be used with this model.
        ModelFileError: The language model of the model file is damaged.
    """
    if not isinstance(choice, DecodingChoice):
        raise ConfigError(
            f"choice must be a DecodingChoice, got {type(choice).__name__}",
            hint='such as DecodingChoice(phrases=["ann lee=8"])',
        )
    if decodes_greedily(source.stored, choice):
        return ChosenDecoder(GreedyDecoder(source.tokenizer, source.frame_s), "greedy")
    setup = beam_setup(source, choice)
    decoder = BeamDecoder(setup.tokenizer, source.frame_s, setup.config, setup.knowledge)
    return ChosenDecoder(decoder, setup.describe())


def decodes_greedily(stored: StoredDecoding | None, choice: DecodingChoice) -> bool:
    """Whether the choice, or for want of one the model file, is greedy decoding.

    Raises:
        ConfigError: Greedy decoding is asked for, and what it cannot do.
    """
    asked = choice.of_beam()
    if choice.decoder == "greedy" and asked:
        raise ConfigError(
            f"greedy decoding does not know {asked[0]}", hint="use --decoder beam, or leave one out"
        )
    if choice.decoder != "auto" or asked:
        return choice.decoder == "greedy"
    if stored is None or stored.decoder == "greedy":
        return True
    return stored.lm == "elsewhere" and not choice.ignore_lm


def beam_setup(source: DecoderSource, choice: DecodingChoice) -> BeamSetup:
    """Settings and knowledge of the beam search.

    Raises:
        ConfigError, DataError, ModelFileError: As `choose_decoder`.
    """
    stored = source.stored
    settings: dict[str, Any] = {} if stored is None else stored.beam.model_dump()
    if stored is not None and _lacks_its_lm(stored, choice) and stored.lexicon is None:
        settings["vocabulary"] = "open"  # a closed one was that of the language model
    if stored is not None and _is_of_another_search(stored, choice):
        settings["calibration"] = {}
    asked = dict(choice.settings)
    if isinstance(part := asked.get("calibration"), Mapping):
        asked["calibration"] = {**settings.get("calibration", {}), **part}
    config = parse_options(BeamConfig, settings | asked, "the command line")
    lm, lm_name = _language_model(source, choice)
    added = _added_words(source, choice)
    tokenizer = source.tokenizer
    if isinstance(tokenizer, PhoneTokenizer) and added:
        tokenizer = tokenizer.with_words(added)
    if lm is not None and config.lm_unit == "word":
        _check_words(lm, lm_name, tokenizer, source.text)
    hotwords: dict[str, float] = {}
    if choice.hotwords is not None:
        hotwords = read_hotwords(choice.hotwords, source.text, tokenizer)
    hotwords |= parse_hotwords(choice.phrases, source.text, tokenizer)
    grammar: Grammar | None = None
    if choice.grammar is not None:
        grammar = read_grammar(choice.grammar).normalized(lambda text: normalize(text, source.text))
    told = Knowledge(lm, _lexicon(source, choice, tokenizer), hotwords, grammar)
    joining = set(added)
    if config.vocabulary == "closed" and choice.lexicon is None:
        # A vocabulary that the user did not write down should not forbid what the user asks for.
        joining.update(*(phrase.split() for phrase in hotwords))
        joining.update(() if grammar is None else grammar.words())
    knowledge = replace(told, lexicon=_with_words(told, config.lm_unit, tokenizer, joining))
    setup = BeamSetup(tokenizer, config, knowledge, lm_name)
    _refuse_idle(choice.settings, setup)
    return setup


def _with_words(
    told: Knowledge, lm_unit: str, tokenizer: Tokenizer, joining: set[str]
) -> Sequence[str] | None:
    """The lexicon of some knowledge, with words that are to join what can be said."""
    known = told.lexicon
    if known is None and told.lm is not None and lm_unit == "word":
        known = told.lm.words
    if known is None:
        known = tokenizer.words
    if known is None or joining.issubset(known):
        return told.lexicon
    together = dict.fromkeys((*known, *sorted(joining)))
    return [word for word in together if tokenizer.spellings(word)]


def _refuse_idle(settings: Mapping[str, Any], setup: BeamSetup) -> None:
    """Refuse what the user sets and nothing would look at: it was meant to do something."""
    known, is_open = setup.knowledge, setup.config.vocabulary == "open"
    is_word_lm = known.lm is not None and setup.config.lm_unit == "word"
    has_words = known.lexicon is not None or is_word_lm or setup.tokenizer.words is not None
    # A closed lexicon may have words that the language model lacks.
    may_lack_words = is_open or (known.lexicon is not None and is_word_lm)
    lm = (known.lm is not None, "a language model", "--lm FILE")
    words = (has_words, "a lexicon or a language model of words", "--lexicon FILE")
    needs = (
        ("off_grammar_score", known.grammar is not None, "a grammar", "--grammar FILE"),
        ("lm_unit", *lm),
        ("lm_weight", *lm),
        ("word_bonus", *lm),
        ("unknown_score", *words),
        ("unknown_letter_score", *words),
        ("unknown_score", may_lack_words, "an open vocabulary", "--set vocabulary=open"),
        ("unknown_letter_score", is_open, "an open vocabulary", "--set vocabulary=open"),
    )
    for name, is_there, what, option in needs:
        if name in settings and not is_there:
            raise ConfigError(
                f"{name} does nothing without {what}", hint=f"give {option}, or leave {name} out"
            )


def _is_of_another_search(stored: StoredDecoding, choice: DecodingChoice) -> bool:
    """Whether confidences were calibrated for a search that another language model changes."""
    has_other_lm = bool(choice.lms) and stored.lm != "elsewhere"
    return has_other_lm or _lacks_its_lm(stored, choice) or choice.grammar is not None


def _lacks_its_lm(stored: StoredDecoding, choice: DecodingChoice) -> bool:
    """Whether settings were found with a language model, and the user does without."""
    return choice.ignore_lm and stored.lm != "none"


def _lexicon(
    source: DecoderSource, choice: DecodingChoice, tokenizer: Tokenizer
) -> Sequence[str] | None:
    if choice.lexicon is None:
        return None if source.stored is None else source.stored.lexicon
    words, left_out = read_lexicon(choice.lexicon, source.text, tokenizer)
    if left_out is not None:
        log.warning("left out of the lexicon: %s", left_out)
    return words


def _language_model(source: DecoderSource, choice: DecodingChoice) -> tuple[NgramModel | None, str]:
    """The language model and what to call it."""
    if choice.lms and choice.ignore_lm:
        raise ConfigError("--lm and --no-lm exclude each other")
    if choice.mix and len(choice.mix) != len(choice.lms):
        raise ConfigError(
            f"--lm-mix has {len(choice.mix)} weights for {len(choice.lms)} language models",
            hint="give one for each --lm, separated by commas; together they are 1",
        )
    if choice.lms:
        return _read_models(choice.lms, choice.mix), " + ".join(path.name for path in choice.lms)
    if choice.ignore_lm or source.stored is None or source.stored.lm == "none":
        return None, ""
    if source.stored.lm == "elsewhere":
        raise ConfigError(
            f"{source.path} was tuned with a language model that it does not hold",
            hint="name it with --lm FILE, or do without: --no-lm",
        )
    if source.lm_data is None:
        raise ModelFileError(f"{source.path} lacks its language model")
    read = model_from_compact if is_compact(source.lm_data) else model_from_bytes
    return read(source.lm_data, f"the language model in {source.path}"), MODEL_FILE_LM


def _read_models(paths: Sequence[Path], mix: Sequence[float]) -> NgramModel:
    models = [read_model(path) for path in paths]
    if len(models) == 1 and list(mix) in ([], [1.0]):
        return models[0]
    from asr.lm.mixing import interpolate_models

    return interpolate_models(models, mix or [1 / len(models)] * len(models))


def _added_words(
    source: DecoderSource, choice: DecodingChoice
) -> dict[str, tuple[Pronunciation, ...]]:
    """Words that the user adds, with their pronunciations."""
    if choice.pronunciations is None:
        return {}
    if not isinstance(source.tokenizer, PhoneTokenizer):
        raise ConfigError(
            f"{source.path} spells words and needs no pronunciations",
            hint="leave --pronunciations out; name words with --lexicon or --hotwords",
        )
    added = read_dictionary(choice.pronunciations, lambda word: normalize(word, source.text))
    known = set(source.tokenizer.vocab)
    for word, ways in added.items():
        unknown = [phone for way in ways for phone in way if phone not in known]
        if unknown:
            raise DataError(
                f"{choice.pronunciations}: the model has no phone {unknown[0]!r}, as in {word!r}",
                hint=f"its phones are {' '.join(source.tokenizer.vocab[2:])}",
            )
    return added


def _check_words(lm: NgramModel, name: str, tokenizer: Tokenizer, text: TextConfig) -> None:
    """Refuse, or warn of, a language model whose words are written otherwise (case!)."""
    words = [word for word in lm.words if not (word.startswith("<") and word.endswith(">"))]
    foreign = [word for word in words if not tokenizer.spellings(word)]
    if 2 * len(foreign) <= len(words):
        if foreign and tokenizer.words is not None and name != MODEL_FILE_LM:
            log.warning(
                "%s: %d of %d words have no pronunciation and cannot be recognised (%r, say); %s",
                *(name, len(foreign), len(words), foreign[0], ADD_WORDS),
            )
        return
    problem = (
        f"{name}: the model can write only {len(words) - len(foreign)} of its {len(words)} words "
        f"(not {foreign[0]!r}, say); it writes {shown_writable(tokenizer)}"
    )
    if len(foreign) < len(words):
        log.warning("%s", problem)
        return
    raise DataError(
        problem,
        hint="build it from text written like the model's transcripts, which are normalised by "
        f"the profile {text.profile!r}: asr lm build TEXT -o lm.bin --model MODEL",
    )
