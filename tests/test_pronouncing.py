"""Dictionaries of the words in texts: which words in which order, and how they are pronounced."""

from __future__ import annotations

import gzip
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_files import GOLDEN

from asr.errors import ConfigError, DataError, MissingExtraError
from asr.lm.files import read_model, write_model
from asr.manifest import Utterance, write_manifest
from asr.pronouncing import (
    Pronounced,
    merge_phones,
    pronounce_words,
    ranked_words,
    read_bases,
    write_dictionary,
)
from asr.synthesis import list_languages, pronounce
from asr.text import PROFILES, TextConfig, normalize
from asr.tokens.dictionary import read_dictionary

NONE, LOWER, LETTERS = (TextConfig(profile=name) for name in ("none", "lower", "letters"))

needs_espeak = pytest.mark.skipif(
    find_spec("espeakng_loader") is None, reason="pronouncing needs the extra 'demo'"
)

# Each phone of eSpeak NG's American English as one letter; of any other its first character. Models
# were trained on such letters, and their weights are a start for the merged phones.
LETTER_OF = {
    **{"ɔːɹ": "ɔr", "ɑːɹ": "ɑr", "ɛɹ": "ɛr", "ɪɹ": "ɪr", "ʊɹ": "ʊr", "əl": "əl", "n̩": "ən"},
    **{"aɪɚ": "áɚ", "aɪə": "áə", "eɪ": "é", "aɪ": "á", "oʊ": "ó", "aʊ": "à", "ɔɪ": "ö"},
    **{"iː": "i", "uː": "u", "ɔː": "ɔ", "ɑː": "ɑ", "ɜː": "ɚ", "iə": "ɪ", "tʃ": "č", "dʒ": "ǧ"},
    **{"ɾ": "t", "ʔ": "t", "ɐ": "ə", "ᵻ": "ɪ", "ɹ": "r", "ɡ": "g"},
}
LETTER_OF_MERGED = {
    **{"eɪ": "é", "aɪ": "á", "oʊ": "ó", "aʊ": "à", "ɔɪ": "ö", "tʃ": "č", "dʒ": "ǧ"},
    **{"ɹ": "r", "ɡ": "g"},
    **{plain: plain for plain in "bdfhijklmnpstuvwzæðŋɑɔəɚɛɪʃʊʌʒθ"},
}

COMMON_WORDS = """
about above across action actually address admiring afraid after again against ago agreed air all
almost alone along already always am among and angry animal another answer any anxieties apple are
arm around artist ask at autumn away baby back bad ball bank barbara bath beach bear beautiful
because bed before begin behind being believe below beside best better between beyond big bird black
blood blue board boat body bone book both bottle bottom bought box boy bread breathe bridge bright
bring brother brought build burn bus but button buy by cabinet call came camera can captain car card
care carry catch caught century certain chair chance change charge cheap child choir choose church
circle city class clean clear climb clock close cloth cloud coat cold colour come common complete
computer cool corner cotton could country course courtier cover cow cross crowd cry culture cure
dance dark daughter day dead deal dear death decide deep desert dictionary die different dinner
direction dirty doctor dog dollar door double doubt down draw dream dress drink drive dry during
dust each ear early earth east easy eat edge egg eight either electric eleven empty end engine
enjoy enough entire error even evening ever every example except eye face fact fail fair fall family
far farm fast father favour fear february feel few field fight figure fill final find fine finger
finish fire first fish five flat floor flower fly follow food foot for force foreign forest forget
form forty forward four fox free fresh friend from front fruit full fun future garage garden gentle
get girl give glass go gold good government great green ground group grow guess guide hair half hand
happen happy hard hat have he hear heart heat heavy help her here high hire history hit hold hole
home honest hope horse hospital hot hour house how huge human hundred hungry hurry idea ideal if
important inch indeed industry inside interest iron island it joy judge juice jump june just keep
kettle key kill kind king kitchen knee knew knife know language large last late laugh law lay lead
learn leave left length less letter level lie light lion listen little live long look loose lose
loud love machine make man many march mark measure metal middle million minute mirror moment money
month moor more morning mother mountain mouth move much music must mutton name nature near need
never new nice night nine noise north nothing notice now number ocean oil old once one onion open
orange order other our out oven over own oyster page paper part party pass pattern people perhaps
picture pleasure poem point poor power pure quarter queen question quiet quite rather ready real
right river road royal rural school science sea second see seven shall sharp she ship shirt short
should sign silver sister six size sleep slow small smooth snow soil some soon sour south square
star still strength strong sugar sure table tall teach tear than that theatre their thing think
third this thousand three through tire today together tomorrow tongue tour toward treasure tree
triangle truth twelve twenty two under until usual vary very village vision voice walk warm wash
water way wear weather week were what wheel where which while white whole why wide wild window wire
with woman women wonder wood word world would write wrong xlii year yellow yes young zero
"""
WORDS = COMMON_WORDS.split()


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def manifest(path: Path, *texts: str) -> Path:
    write_manifest(
        path, [Utterance(f"u{n}", path.parent / "a.wav", 1.0, text) for n, text in enumerate(texts)]
    )
    return path


def test_words_come_by_how_often_texts_and_manifests_have_them(tmp_path: Path) -> None:
    sources = [
        written(tmp_path / "list", "pear\nfig\n"),
        manifest(tmp_path / "m.jsonl", "Fig, two pears!", "two-fold"),
    ]
    with gzip.open(tmp_path / "t.gz", "wt") as stream:
        stream.write("two\tPear\r\n\n ¿fig?\n")
    sources.append(tmp_path / "t.gz")
    assert ranked_words(sources, LETTERS) == ["fig", "two", "pear", "fold", "pears"]
    assert ranked_words(sources[1:2], NONE) == ["Fig,", "pears!", "two", "two-fold"]


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz", "lm.bin"])
def test_of_equally_frequent_words_the_language_models_likelier_one_is_first(
    tmp_path: Path, name: str
) -> None:
    model = read_model(GOLDEN / "commands.o3.arpa")
    path = tmp_path / name
    write_model(model, path)
    own = [word for word in model.words if word not in ("<unk>", "<s>", "</s>")]
    found = ranked_words([path, written(tmp_path / "t", "unheard marta zoo zoo")], LOWER)
    assert sorted(found) == sorted({*own, "unheard", "marta", "zoo"})
    assert found[:3] == ["zoo", "marta", "unheard"]
    unigrams = read_model(GOLDEN / "commands.o1.arpa")  # its words' probabilities, by another tool
    log_probs = [unigrams.score(0, unigrams.id_of(word))[0] for word in found[3:]]
    likeliest = max(own, key=lambda word: unigrams.score(0, unigrams.id_of(word))[0])
    assert len(set(log_probs)) > 10
    assert likeliest in found[:6]


def test_of_a_models_words_that_become_one_the_likeliest_counts(tmp_path: Path) -> None:
    arpa = "\\data\\\nngram 1=6\n\n\\1-grams:\n-1\t<unk>\n-2\t</s>\n-99\t<s>\n"
    path = written(tmp_path / "a.arpa", f"{arpa}-3\tB\n-2\ta\n-1\tb\n\n\\end\\\n")
    assert ranked_words([path], LOWER) == ["b", "a"]
    assert ranked_words([path], NONE) == ["b", "a", "B"]


@given(
    st.lists(st.text("aAbİıΣσß'’-. \u0301\ufeff\u200d\t\n", max_size=30), max_size=4),
    st.sampled_from(PROFILES),
    st.sampled_from([None, "tr", "de"]),
)
def test_words_are_those_of_the_normalised_texts(
    texts: list[str], profile: str, language: str | None
) -> None:
    """Against normalising whole lines and counting in the plainest way."""
    config = TextConfig(profile=profile, language=language)
    counts = Counter(
        word
        for text in texts
        for line in text.split("\n")
        for word in normalize(line, config).split()
    )
    with tempfile.TemporaryDirectory() as directory:
        sources = [
            written(Path(directory) / f"{n}.txt", text) for n, text in enumerate(["", *texts])
        ]
        if not counts:
            with pytest.raises(DataError, match="no word in "):
                ranked_words(sources, config)
            return
        expected = sorted(sorted(counts), key=lambda word: counts[word], reverse=True)
        assert ranked_words(sources, config) == expected


def test_a_language_model_under_the_name_of_a_text_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "lm.txt", (GOLDEN / "commands.o1.arpa").read_text())
    with pytest.raises(DataError, match=r"is a language model, not a text; give it a name in"):
        ranked_words([path], LOWER)


def test_of_several_dictionaries_the_first_that_has_a_word_counts(tmp_path: Path) -> None:
    mine = written(tmp_path / "mine", "A\tə\nThe ð ə\nthe\tð iː\n?? k\nA-B eɪ b iː\n")
    other = written(tmp_path / "other", "a eɪ\nb b iː\n")
    assert read_bases([mine, other], LETTERS) == {
        "a": (("ə",),),
        "the": (("ð", "ə"), ("ð", "iː")),
        "b": (("b", "iː"),),
    }
    assert read_bases([], LETTERS) == {}


def test_a_dictionary_with_all_words_needs_no_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    bases = {"b": (("B",), ("V",)), "a": (("A",),), "c": (("C",),)}
    found = pronounce_words(["a", "b"], "en-us", bases)
    assert found == Pronounced({"a": (("A",),), "b": (("B",), ("V",))}, {}, ())
    assert list(found.dictionary) == ["a", "b"]
    with pytest.raises(MissingExtraError):
        pronounce_words(["a", "d"], "en-us", bases)


@needs_espeak
def test_words_of_dictionary_and_espeak_stand_in_the_given_order() -> None:
    bases = {"a": (("ə",), ("eɪ",)), "unused": (("x",),)}
    found = pronounce_words(["water", "a", "fire"], "en-us", bases)
    assert list(found.dictionary.items()) == [
        ("water", (("w", "ɔ", "t", "ɚ"),)),
        ("a", (("ə",), ("eɪ",))),
        ("fire", (("f", "aɪ", "ɚ"),)),
    ]
    assert found.foreign_phones == ("x", "ə")


@needs_espeak
def test_what_has_no_pronunciation_is_left_out_with_the_reason() -> None:
    words = ["yes", "…", "#1", ";;;x", "go(2)", "a\0b", "ab" * 31, "北" * 15, "no"]
    found = pronounce_words(words, "en-us", {"go(2)": (("x",),)})
    assert list(found.dictionary) == ["yes", "no"]
    assert found.left_out == {
        "…": "eSpeak NG has no pronunciation of it",
        "#1": "at the beginning of a line it would be a comment",
        ";;;x": "at the beginning of a line it would be a comment",
        "go(2)": "it would be another pronunciation of 'go'",
        "a\0b": "it holds a NUL character",
        "ab" * 31: "it is so long that eSpeak NG would cut it off",
        "北" * 15: "it is so long that eSpeak NG would cut it off",
    }


@needs_espeak
def test_words_are_cut_off_by_espeak_only_beyond_the_bounds() -> None:
    """Digits have up to five phones each; a word that is let pass is said to its end."""
    for word, last in (("ab" * 30, ("æ", "b")), ("9" * 43, ("n", "aɪ", "n"))):
        found = pronounce_words([word], "en-us", {})
        assert found.dictionary[word][0][-len(last) :] == last
    assert len(pronounce_words(["9" * 43], "en-us", {}).dictionary["9" * 43][0]) == 43 * 3
    assert pronounce_words(["9" * 45], "en-us", {}).dictionary == {}


@needs_espeak
def test_dictionaries_of_other_phones_are_refused_if_they_lack_words() -> None:
    arpabet = "AA AE AH AW AY EH ER EY IH"
    bases = {"yes": (("Y", "EH", "S"),), "never": (tuple(arpabet.split()),)}
    with pytest.raises(DataError) as caught:
        pronounce_words(["yes", "waterfall", "never", "x"], "en-us", bases)
    assert caught.value.message == (
        "the dictionary has no phone in common with eSpeak NG (AA AE AH AW AY EH ER EY … and "
        "f j k l n s t v …), and lacks the word 'waterfall' and 1 more"
    )
    assert pronounce_words(["never", "yes"], "en-us", bases).foreign_phones == ()


@needs_espeak
def test_few_phones_may_have_none_in_common() -> None:
    found = pronounce_words(["ah", "oh"], "en-us", {"ah": (("ə",),)})
    assert found.dictionary == {"ah": (("ə",),), "oh": (("oʊ",),)}
    assert found.foreign_phones == ("ə",)


@needs_espeak
def test_more_words_than_one_call_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = pronounce_words(WORDS[:7], "en-us", {})
    monkeypatch.setattr("asr.pronouncing._WORDS_A_CALL", 3)
    assert pronounce_words(WORDS[:7], "en-us", {}) == alone


@needs_espeak
def test_merged_phones_are_the_letters_that_models_were_trained_on() -> None:
    """One to one: a vocabulary of letters and one of phones have the same rows."""
    assert len(set(LETTER_OF_MERGED.values())) == len(LETTER_OF_MERGED) == 40
    distinct = list(dict.fromkeys(WORDS))
    merged = pronounce_words(distinct, "en-us", {}).dictionary
    heard = set()
    for word, phones in zip(distinct, pronounce(distinct), strict=True):
        heard |= set(phones)
        letters = "".join(LETTER_OF.get(phone, phone[:1]) for phone in phones)
        assert "".join(LETTER_OF_MERGED[phone] for phone in merged[word][0]) == letters, word
    assert {phone for ways in merged.values() for phone in ways[0]} == set(LETTER_OF_MERGED)
    assert heard >= set(LETTER_OF), "these words do not show every phone that is merged"


def test_phones_of_loans_are_their_first_character() -> None:
    assert merge_phones(["ɑ̃", "ææ", "x", "r"]) == ("ɑ", "æ", "x", "ɹ")


@needs_espeak
@pytest.mark.parametrize("language", ["de", "tr", "en-gb"])
def test_phones_of_other_languages_are_espeaks(language: str) -> None:
    words = ["hallo", "vier", "water"]
    found = pronounce_words(words, language, {}).dictionary
    assert [found[word] for word in words] == [(phones,) for phones in pronounce(words, language)]


@needs_espeak
def test_unknown_languages_are_refused() -> None:
    assert "en-us" in list_languages()
    with pytest.raises(ConfigError, match="no language 'en-uk'"):
        pronounce_words(["a"], "en-uk", {})


PHONE = st.text(st.characters(codec="utf-8"), min_size=1, max_size=2).filter(
    lambda text: text.split() == [text] and text != "#"
)
WAYS = st.lists(st.lists(PHONE, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)


@given(
    st.dictionaries(
        st.text("ab'é(2)#;.", min_size=1, max_size=5),
        WAYS.map(lambda ways: tuple(dict.fromkeys(ways))),
        min_size=1,
    )
)
def test_what_is_written_is_read_again(entries: dict[str, tuple[tuple[str, ...], ...]]) -> None:
    """Whatever `pronounce_words` lets pass: words of a base, so that eSpeak NG has no part."""
    found = pronounce_words(list(entries), "en-us", entries)
    assert found.dictionary.keys() | found.left_out.keys() == entries.keys()
    if not found.dictionary:
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "new" / "lexicon.txt"
        write_dictionary(path, found.dictionary)
        read = read_dictionary(path)
    assert list(read.items()) == list(found.dictionary.items())
    assert read == {word: entries[word] for word in found.dictionary}
