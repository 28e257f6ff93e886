"""Text profiles: Unicode-correct casing, composition, what stays and what goes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asr.config import parse_options
from asr.errors import ConfigError
from asr.text import PROFILES, TextConfig, normalize

CONFIGS = st.builds(
    TextConfig,
    profile=st.sampled_from(PROFILES),
    language=st.sampled_from([None, "tr", "az", "de", "el", "en"]),
)
# Characters that interact: casing with context, marks, joiners, quotes, spaces.
TRICKY = st.text(
    "aIiİıßẞΣσςα'’ʼ\u0307\u0301\u0345\u0323\u00ad\u200c\u200d\ufe0f\ufeff -\u00a0Ǆǅǆ1٣"
)


@given(st.one_of(st.text(), TRICKY), CONFIGS)
@example("ΑΣ-Β", TextConfig(profile="letters"))
@example("'\u0301'a", TextConfig(profile="letters"))
def test_normalizing_twice_changes_nothing(text: str, config: TextConfig) -> None:
    once = normalize(text, config)
    assert normalize(once, config) == once


@given(st.one_of(st.text(), TRICKY), CONFIGS)
def test_result_is_composed_and_single_spaced(text: str, config: TextConfig) -> None:
    result = normalize(text, config)
    assert unicodedata.is_normalized("NFC", result)
    assert result == " ".join(result.split())


@given(st.one_of(st.text(), TRICKY), CONFIGS)
def test_composed_and_decomposed_text_are_the_same(text: str, config: TextConfig) -> None:
    decomposed = unicodedata.normalize("NFD", text)
    composed = unicodedata.normalize("NFC", text)
    assert normalize(decomposed, config) == normalize(composed, config)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_code_point_is_stable_inside_a_word(profile: str) -> None:
    config = TextConfig(profile=profile)
    # One word a character, a thousand words a text; nothing is cased beyond U+1FFFF.
    for start in range(0, 0x20000, 1024):
        text = " ".join(f"a{chr(code)}Σ" for code in range(start, start + 1024))
        once = normalize(text, config)
        assert normalize(once, config) == once, f"from U+{start:04X} on"


@pytest.mark.parametrize(
    ("text", "profile", "language", "expected"),
    [
        # Turkish and Azerbaijani: dotted and dotless i are two letters (Unicode SpecialCasing).
        ("IŞIK İstanbul", "lower", "tr", "ışık istanbul"),
        ("ışık istanbul", "upper", "tr", "IŞIK İSTANBUL"),
        ("I\u0307stanbul", "lower", "tr", "istanbul"),
        ("QIZIL İNCİ", "lower", "az", "qızıl inci"),
        ("QIZIL", "lower", "aze", "qızıl"),
        ("ILIK", "lower", None, "ilik"),
        ("ilik", "upper", None, "ILIK"),
        # German: ß has a capital since 2017; Unicode's default writes SS.
        ("Straße", "upper", "de", "STRAẞE"),
        ("STRAẞE", "lower", "de", "straße"),
        ("Straße", "upper", None, "STRASSE"),
        ("Straße", "lower", None, "straße"),
        ("STRASSE", "lower", "de", "strasse"),
        # Greek: sigma at the end of a word.
        ("ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ", "lower", None, "οδυσσευς σοφος"),
        ("οδυσσεύς", "upper", None, "ΟΔΥΣΣΕΎΣ"),
        ("ΤΗΣ, ΤΙΣ", "letters", None, "της τις"),
        # Composition and combining marks.
        ("Cafe\u0301", "lower", None, "café"),
        ("Cafe\u0301", "none", None, "Café"),
        ("हिन्दी, नमस्ते!", "letters", None, "हिन्दी नमस्ते"),
        ("Việt Nam.", "letters", None, "việt nam"),
        ("שָׁלוֹם", "letters", None, unicodedata.normalize("NFC", "שָׁלוֹם")),
        ("می\u200cخواهم", "letters", None, "می\u200cخواهم"),
        ("q\u0303!", "letters", None, "q\u0303"),
        # What the profile `letters` keeps and drops.
        ("Twenty-one o’clock!", "letters", None, "twenty one o'clock"),
        ("'quoted' ''text'' rock 'n' roll", "letters", None, "quoted text rock n roll"),
        ("don＇t donʼt", "letters", None, "don't don't"),
        ("3 apples, ٣", "letters", None, "3 apples ٣"),
        ("co\u00adoperate", "letters", None, "cooperate"),
        ("I ❤\ufe0f NY \U0001f600", "letters", None, "i ny"),
        ("葛\U000e0100城", "letters", None, "葛城"),
        ("!\u0301a", "letters", None, "a"),
        ("a_b/c", "letters", None, "a b c"),
        ("…", "letters", None, ""),
        # White space of every kind, byte-order marks.
        ("  a\u00a0b\u2003c\u3000d\t\n", "none", None, "a b c d"),
        ("\ufeffChapter", "none", None, "Chapter"),
        ("", "letters", None, ""),
    ],
)
def test_normalize(text: str, profile: str, language: str | None, expected: str) -> None:
    assert normalize(text, TextConfig(profile=profile, language=language)) == expected


@given(st.text("abcçdefgğhıijklmnoöprsştuüvyz "))
def test_turkish_casing_is_reversible(text: str) -> None:
    lower = normalize(text, TextConfig(language="tr"))
    upper = normalize(lower, TextConfig(profile="upper", language="tr"))
    assert normalize(upper, TextConfig(language="tr")) == lower


@given(st.text("abcdefghijklmnopqrstuvwxyzäöüß "))
def test_german_casing_is_reversible(text: str) -> None:
    lower = normalize(text, TextConfig(language="de"))
    upper = normalize(lower, TextConfig(profile="upper", language="de"))
    assert normalize(upper, TextConfig(language="de")) == lower


@given(st.text(), st.sampled_from([None, "tr", "de"]))
def test_letters_holds_only_letters_marks_digits_and_apostrophes(
    text: str, language: str | None
) -> None:
    for word in normalize(text, TextConfig(profile="letters", language=language)).split():
        categories = {unicodedata.category(symbol)[0] for symbol in word if symbol not in "'"}
        assert categories - {"C"} <= {"L", "M", "N"}
        assert {symbol for symbol in word if unicodedata.category(symbol)[0] == "C"} <= set(
            "\u200c\u200d"
        )
        assert not word.startswith("'") and not word.endswith("'")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"profile": "leters"}, "did you mean 'letters'"),
        ({"profile": "xyz"}, "known: none, lower, upper, letters"),
        ({"profle": "lower"}, "did you mean `profile`"),
        ({"language": "turkish"}, "ISO 639"),
        ({"language": "TR"}, "ISO 639"),
        ({"language": "t"}, "ISO 639"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(TextConfig, values, "train.toml")
    assert message in str(caught.value)
    assert "train.toml" in str(caught.value)
