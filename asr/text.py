"""Text normalisation: named profiles, applied to transcripts and to nothing implicitly.

Every profile composes characters (Unicode NFC), drops byte-order marks and turns each run of
white space into one space, none at the ends. On top of that:

=========  ========================================================================================
none       nothing else.
lower      lower case.
upper      upper case.
letters    lower case; only letters, combining marks, digits and apostrophes inside words stay.
           Soft hyphens and other invisible characters vanish, every other character separates
           words: ``"Twenty-one o’clock!"`` becomes ``"twenty one o'clock"``.
=========  ========================================================================================

Casing follows Unicode, with the rules of `TextConfig.language` where they differ:

* ``tr``, ``az``: dotted and dotless i are two letters (``I`` ↔ ``ı``, ``İ`` ↔ ``i``).
* ``de``: the capital of ``ß`` is ``ẞ``, so that upper and lower case stay inverse;
  without a language it is ``SS``, Unicode's default.
* Greek needs no language: a capital sigma becomes ``ς`` at a word's end and ``σ`` elsewhere, and
  the two stay apart, since both are spelling.
"""

from __future__ import annotations

import difflib
import unicodedata

from pydantic import field_validator

from asr.config import Options

PROFILES = ("none", "lower", "upper", "letters")
"""Names of the normalisation profiles."""

_TURKIC = frozenset({"tr", "tur", "az", "aze"})
_GERMAN = frozenset({"de", "deu"})
_BYTE_ORDER_MARK = "\ufeff"
# Zero-width (non-)joiners are spelling in Persian and in Indic scripts: kept inside words.
_JOINERS = "\u200c\u200d"
_APOSTROPHES = "'\u2019\u02bc\uff07"
_WORD_EDGES = "'" + _JOINERS


class TextConfig(Options):
    """How transcripts are normalised before they become tokens.

    Attributes:
        profile: One of `PROFILES`.
        language: ISO 639 code of two or three lower-case letters; matters for ``tr``, ``az`` and
            ``de`` (see the module), every other language is cased by Unicode's default.
    """

    profile: str = "lower"
    language: str | None = None

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, profile: str) -> str:
        if profile not in PROFILES:
            near = difflib.get_close_matches(profile, PROFILES, n=1, cutoff=0.5)
            known = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(PROFILES)}"
            raise ValueError(f"unknown text profile; {known}")
        return profile

    @field_validator("language")
    @classmethod
    def _language_code(cls, language: str | None) -> str | None:
        if language is None:
            return None
        plain = language.isascii() and language.isalpha() and language.islower()
        if not plain or len(language) not in (2, 3):
            raise ValueError("expected an ISO 639 code such as 'tr' or 'de'")
        return language


def normalize(text: str, config: TextConfig) -> str:
    """Text as the model learns and writes it.

    Deterministic and idempotent; the result is in NFC, with single spaces and none at the ends.

    Args:
        text: Any text.
        config: Profile and language.

    Examples:
        >>> normalize("  Twenty-one o’clock!", TextConfig(profile="letters"))
        "twenty one o'clock"
        >>> normalize("IŞIK İSTANBUL", TextConfig(profile="lower", language="tr"))
        'ışık istanbul'
    """
    text = unicodedata.normalize("NFC", text.replace(_BYTE_ORDER_MARK, ""))
    if config.profile in ("lower", "letters"):
        text = _lower(text, config.language)
    elif config.profile == "upper":
        text = _upper(text, config.language)
    if config.profile == "letters":
        text = _keep_letters(text)
    return unicodedata.normalize("NFC", " ".join(text.split()))


def plain_words(text: str) -> list[str]:
    """Words without case and punctuation, whatever the profile of a model.

    >>> plain_words("Stop, please!")
    ['stop', 'please']
    """
    return normalize(text, TextConfig(profile="letters")).split()


def _lower(text: str, language: str | None) -> str:
    if language in _TURKIC:
        text = text.replace("İ", "i").replace("I", "ı")
    return text.lower()


def _upper(text: str, language: str | None) -> str:
    if language in _TURKIC:
        text = text.replace("i", "İ")
    elif language in _GERMAN:
        text = text.replace("ß", "ẞ")
    return text.upper()


class _LetterTable(dict[int, str]):
    """What `str.translate` puts for each character under the profile `letters`; fills itself."""

    def __missing__(self, code: int) -> str:
        self[code] = kept = _letter_or_space(chr(code))
        return kept


def _letter_or_space(character: str) -> str:
    if character in _APOSTROPHES:
        return "'"
    if character in _JOINERS:
        return character
    category = unicodedata.category(character)
    if category == "Cf" or _is_variation_selector(character):
        return ""
    return character if category[0] in "LMN" else " "


def _is_variation_selector(character: str) -> bool:
    """Marks that choose a glyph (text or emoji), not a spelling."""
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


_LETTERS = _LetterTable()


def _keep_letters(text: str) -> str:
    words = text.translate(_LETTERS).split()
    return " ".join(filter(None, map(_trim_word, words)))


def _trim_word(word: str) -> str:
    """Drop apostrophes and joiners at the ends, and marks that lost their base character."""
    word = word.rstrip(_WORD_EDGES)
    start = 0
    while start < len(word) and (
        word[start] in _WORD_EDGES or unicodedata.category(word[start])[0] == "M"
    ):
        start += 1
    return word[start:]
