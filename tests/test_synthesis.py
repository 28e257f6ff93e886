"""Speech synthesis: the same samples always, settings that are heard, names that are checked."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from asr import synthesis
from asr.errors import ConfigError, DataError, MissingExtraError
from asr.synthesis import (
    NATIVE_RATE_HZ,
    Voice,
    list_languages,
    list_variants,
    pronounce,
    synthesize,
)

pytest.importorskip("espeakng_loader", reason="speech synthesis needs the extra 'demo'")

TEXT = "one two zero seven"
# Each keeps another hidden state: formant synthesis, four Klatt sources, breath (which draws from
# the C library's generator in Reed), flutter, echo.
VOICES = [
    Voice(),
    Voice("en-gb", "f2"),
    Voice("en-029", "croak"),
    Voice("en-gb-scotland", "klatt"),
    Voice("en-us", "klatt2"),
    Voice("en-us", "klatt4", rate_wpm=220),
    Voice("en-gb-x-rp", "Mr serious", pitch=70),
    Voice("en-us", "Reed"),
    Voice("en-us", "whisper"),
    Voice("en-us", "Alicia", pitch_range=90),
]

# The plainest use of the library, by its own documentation: the first utterance of a process.
PLAIN_ESPEAK = """
import ctypes, sys
import espeakng_loader
engine = ctypes.CDLL(espeakng_loader.get_library_path())
chunks = []
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
def collect(samples, count, events):
    if samples and count:
        chunks.append(ctypes.string_at(samples, 2 * count))
    return 0
assert engine.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0) == 22050
engine.espeak_SetSynthCallback(collect)
assert engine.espeak_SetVoiceByName(sys.argv[1].encode()) == 0
engine.espeak_SetParameter(1, int(sys.argv[2]), 0)
engine.espeak_SetParameter(3, int(sys.argv[3]), 0)
text = sys.argv[4].encode()
assert engine.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, 1, None, None) == 0
sys.stdout.buffer.write(b"".join(chunks))
"""


def spoken(voice: Voice, text: str = TEXT) -> bytes:
    return synthesize(text, voice).samples.tobytes()


def pitch_hz(samples: np.ndarray) -> float:
    """Median over voiced frames of the strongest autocorrelation lag."""
    found = []
    for start in range(0, len(samples) - 1024, 512):
        frame = samples[start : start + 1024].astype(np.float64)
        correlation = np.correlate(frame, frame, "full")[1023:]
        lags = correlation[55:400]  # 400 down to 55 Hz
        if correlation[0] > 1 and lags.max() > 0.6 * correlation[0]:
            found.append(NATIVE_RATE_HZ / (55 + int(lags.argmax())))
    return float(np.median(found))


def test_a_voice_sounds_the_same_whatever_was_spoken_before() -> None:
    first = [spoken(voice) for voice in VOICES]
    again = {voice: spoken(voice) for voice in reversed(VOICES)}
    assert [again[voice] for voice in VOICES] == first
    assert len(set(first)) == len(VOICES)


def test_threads_do_not_disturb_each_other() -> None:
    expected = {voice: spoken(voice) for voice in VOICES}
    wrong: list[Voice] = []

    def speak(voices: list[Voice]) -> None:
        wrong.extend(voice for voice in voices if spoken(voice) != expected[voice])

    threads = [threading.Thread(target=speak, args=(VOICES[n:] + VOICES[:n],)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("voice", "name"),
    [
        (Voice(), "gmw/en-US"),
        (Voice("en-gb", "f1", rate_wpm=140), "gmw/en+f1"),
        (Voice("en-029", "m3", pitch=70), "gmw/en-029+m3"),
        (Voice("en-us", "Mr serious"), "gmw/en-US+Mr serious"),
    ],
)
def test_samples_are_those_of_a_plain_espeak_process(voice: Voice, name: str) -> None:
    arguments = [name, str(voice.rate_wpm), str(voice.pitch), TEXT]
    plain = subprocess.run(
        [sys.executable, "-c", PLAIN_ESPEAK, *arguments], capture_output=True, check=True
    )
    expected = np.frombuffer(plain.stdout, np.int16).astype(np.float32) / 32768
    np.testing.assert_array_equal(synthesize(TEXT, voice).samples, expected)


def test_the_waveform_is_mono_float32_at_the_native_rate() -> None:
    waveform = synthesize(TEXT)
    assert waveform.sample_rate_hz == NATIVE_RATE_HZ == 22050
    assert waveform.samples.dtype == np.float32
    assert waveform.samples.ndim == 1
    assert 0.1 < np.abs(waveform.samples).max() <= 1.0
    assert 0.5 < waveform.duration_s < 3.0


def test_rate_pitch_and_gaps_are_heard() -> None:
    plain = synthesize(TEXT)
    assert synthesize(TEXT, Voice(rate_wpm=100)).duration_s > 1.5 * plain.duration_s
    assert synthesize(TEXT, Voice(rate_wpm=300)).duration_s < 0.7 * plain.duration_s
    gaps_s = synthesize(TEXT, Voice(word_gap=20)).duration_s - plain.duration_s
    assert 3 * 0.25 < gaps_s < 3 * 0.4  # three gaps of 20 units of about 16 ms
    low, high = synthesize(TEXT, Voice(pitch=20)), synthesize(TEXT, Voice(pitch=80))
    assert pitch_hz(high.samples) > 1.4 * pitch_hz(low.samples)


def test_pitch_range_is_heard_and_nought_is_monotone() -> None:
    assert spoken(Voice(pitch_range=0)) != spoken(Voice(pitch_range=99))


def test_accents_differ_and_other_scripts_are_spoken() -> None:
    assert len({spoken(Voice(accent)) for accent in ("en-us", "en-gb", "en-gb-scotland")}) == 3
    assert synthesize("один два", Voice("ru")).duration_s > 0.4
    assert synthesize("iki üç", Voice("tr")).duration_s > 0.3


def test_names_of_the_wheel_are_listed() -> None:
    assert {"en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-029", "tr"} <= set(
        list_languages()
    )
    assert {"m1", "f5", "croak", "klatt4", "Mr serious"} <= set(list_variants())
    assert list(list_variants()) == sorted(list_variants())


@pytest.mark.parametrize(
    ("voice", "message", "hint"),
    [
        (Voice("en-uss"), "no language 'en-uss'", "'en-us'"),
        (Voice(variant="m33"), "no variant 'm33'", "'m3'"),
        (Voice(variant="../!v/m3"), "no variant", "one of: "),
        (Voice("qqqqqq"), "no language 'qqqqqq'", "one of: "),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(voice: Voice, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        synthesize(TEXT, voice)
    assert caught.value.hint is not None
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "settings",
    [{"rate_wpm": 79}, {"rate_wpm": 451}, {"pitch": 100}, {"pitch_range": -1}, {"word_gap": 101}],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, int]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=f"voice `{name}` must be in"):
        Voice(**settings)


@pytest.mark.parametrize("text", ["", "   ", "..."])
def test_nothing_to_speak_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="nothing to speak"):
        synthesize(text)


def test_text_cut_off_by_a_nul_is_refused() -> None:
    with pytest.raises(DataError, match="NUL"):
        synthesize("one\0two")


def test_nothing_is_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    synthesize(TEXT, Voice("en-gb", "m3"))
    assert capfd.readouterr() == ("", "")


def test_a_data_path_that_espeak_would_cut_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espeakng_loader.get_data_path", lambda: "/long" * 50)
    with pytest.raises(ConfigError, match="250 bytes long, at most 240") as caught:
        synthesize(TEXT)
    assert caught.value.hint is not None
    assert "shorter path" in caught.value.hint


def test_missing_data_says_what_to_reinstall(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("espeakng_loader.get_data_path", lambda: str(tmp_path))
    with pytest.raises(ConfigError, match="does not start") as caught:
        synthesize(TEXT)
    assert caught.value.hint is not None
    assert "espeakng-loader" in caught.value.hint
    capfd.readouterr()
    monkeypatch.undo()
    assert synthesize(TEXT).duration_s > 0.5  # the failure left nothing behind


def test_without_the_extra_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    synthesis.list_variants.cache_clear()
    with pytest.raises(MissingExtraError, match="speech synthesis needs") as caught:
        list_variants()
    assert caught.value.hint == 'pip install "asr[demo]"'


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("hello", "h ə l oʊ"),
        ("stranger", "s t ɹ eɪ n dʒ ɚ"),
        ("x", "ɛ k s"),
        ("to", "t uː"),
    ],
)
def test_words_are_pronounced_as_dictionaries_have_it(word: str, phones: str) -> None:
    """Phones of general American, as the Longman Pronunciation Dictionary writes them."""
    assert pronounce([word]) == [tuple(phones.split())]


def test_the_language_decides_how_a_word_is_pronounced() -> None:
    assert pronounce(["vier"], "de") != pronounce(["vier"], "en-us")
    assert pronounce(["vier", "vier"], "de")[0] == pronounce(["vier"], "de")[0]


def test_words_of_another_language_are_phones_without_marks() -> None:
    assert pronounce(["jeans"], "de") == [("dʒ", "iː", "n", "z")]


@pytest.mark.parametrize("word", ["", "two words", "a\0b"])
def test_what_is_no_word_is_not_pronounced(word: str) -> None:
    with pytest.raises(DataError, match="expected one word"):
        pronounce(["fine", word])


def test_words_of_which_nothing_is_spoken_have_no_phones() -> None:
    assert pronounce(["…", "a", "'"]) == [(), ("eɪ",), ()]
