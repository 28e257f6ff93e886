"""Speech synthesis with eSpeak NG: text in, samples out, the same on every call.

Library and voices come from the wheel `espeakng-loader` (GPL-3.0), kept in the extra `demo`.
eSpeak NG keeps hidden state between utterances (flutter phase, gain control, noise generators),
so the same text would sound different the second time. Every call here therefore loads the library
afresh and unloads it again; with the synthesis itself that takes about 4 ms an utterance.
eSpeak NG is global to a process and not thread-safe: one lock serialises the calls; use processes
to go faster. Another user of the same library file in the same process breaks both promises.
"""

from __future__ import annotations

import _ctypes
import ctypes
import difflib
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from asr.audio.waveform import Waveform
from asr.errors import ConfigError, DataError, require_extra

NATIVE_RATE_HZ = 22050
"""Sample rate of every eSpeak NG formant voice."""

_LOCK = threading.Lock()

# Constants of espeak-ng/speak_lib.h (1.52).
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8, _SSML = 1, 0x10
_POS_CHARACTER = 1
_IPA_SEPARATED = 0x02 | ord("_") << 8
_NOT_PHONES = str.maketrans("", "", "ˈˌ\u200d\u0361")
"""Stress marks, joiners and ties."""
_VOICE_CHANGE = re.compile(r"\([\w-]+\)")
"""Before and after what is said as in another language: `(en)`."""
_RATE, _VOLUME, _PITCH, _RANGE, _WORDGAP = 1, 2, 3, 4, 7
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
# eSpeak NG cuts a longer data path off and then finds nothing: 250 bytes work, 260 do not.
_MAX_DATA_PATH_BYTES = 240


class _VoiceRecord(ctypes.Structure):
    """`espeak_VOICE` of speak_lib.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how.

    Attributes:
        language: Language and accent, one of `list_languages()`: `en-us`, `en-gb-x-rp`, `tr`.
        variant: Voice quality, one of `list_variants()`: `m3`, `f2`, `croak`; None for the plain
            voice of the language.
        rate_wpm: Speaking rate in words a minute, 80 to 450.
        pitch: Base pitch, 0 to 99; 50 is what the variant sets.
        pitch_range: Liveliness of the intonation, 0 (monotone) to 99.
        word_gap: Extra silence between words, 0 to 100; a unit is about 16 ms at 175 words a
            minute and less at higher rates.

    Raises:
        ConfigError: A number is out of range. Names are checked when speaking.
    """

    language: str = "en-us"
    variant: str | None = None
    rate_wpm: int = 175
    pitch: int = 50
    pitch_range: int = 50
    word_gap: int = 0

    def __post_init__(self) -> None:
        """Refuse what eSpeak NG would silently clip."""
        ranges = {
            "rate_wpm": (80, 450),
            "pitch": (0, 99),
            "pitch_range": (0, 99),
            "word_gap": (0, 100),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"voice `{name}` must be in [{low}, {high}], got {value}")


DEFAULT_VOICE = Voice()
"""General American, neither slow nor fast."""


def synthesize(text: str, voice: Voice = DEFAULT_VOICE, markup: bool = False) -> Waveform:
    """Speak `text`.

    The samples depend on the text, the voice and the installed eSpeak NG alone, not on what was
    spoken before. The C library's `rand` is seeded on the way, since two variants draw from it.

    Args:
        text: Plain text in any script the language knows.
        voice: Who speaks, and how.
        markup: `text` is SSML, with `&amp;` and `&lt;`: `<say-as interpret-as="characters">ab
            </say-as>` names letters. Otherwise nothing in it is markup.

    Returns:
        Samples at `NATIVE_RATE_HZ`, in [-1, 1), with little silence around the speech.

    Raises:
        ConfigError: The language or variant is unknown; the message names the nearest.
        DataError: There is nothing to speak in `text`.
        MissingExtraError: The extra `demo` is not installed.
    """
    if "\0" in text:
        raise DataError(f"text to speak must not hold NUL characters, got {text[:60]!r}")
    identifier = _identifier(voice)
    chunks: list[bytes] = []

    def collect(samples: Any, num_samples: int, _: int | None) -> int:
        if samples and num_samples > 0:
            chunks.append(ctypes.string_at(samples, 2 * num_samples))
        return 0

    callback = _SYNTH_CALLBACK(collect)  # must outlive the synthesis
    with _engine() as engine:
        engine.espeak_SetSynthCallback(callback)
        _require(engine.espeak_SetVoiceByName(identifier.encode()), f"voice {identifier!r}")
        _set_parameters(engine, voice)
        _speak(engine, text, _SSML if markup else 0)
    samples = np.frombuffer(b"".join(chunks), dtype=np.int16)
    if not samples.any():
        raise DataError(f"there is nothing to speak in {text[:60]!r} for language {voice.language}")
    return Waveform(samples.astype(np.float32) / np.float32(32768), NATIVE_RATE_HZ)


def pronounce(words: Sequence[str], language: str = "en-us") -> list[tuple[str, ...]]:
    """Phones of each word as eSpeak NG says it alone.

    Args:
        words: Without blanks.
        language: See `list_languages`.

    Returns:
        For each word its phones in IPA, without stress; a diphthong or an affricate is one. None
        where nothing of it is spoken.

    Raises:
        ConfigError: The language is unknown.
        DataError: A word holds a blank, a NUL character or nothing.
        MissingExtraError: The extra `demo` is not installed.
    """
    identifier = _identifier(Voice(language))
    with _engine() as engine:
        _require(engine.espeak_SetVoiceByName(identifier.encode()), f"voice {identifier!r}")
        engine.espeak_TextToPhonemes.restype = ctypes.c_char_p
        return [_phones(engine, word) for word in words]


def _phones(engine: ctypes.CDLL, word: str) -> tuple[str, ...]:
    if len(word.split()) != 1 or "\0" in word:
        raise DataError(f"expected one word to pronounce, got {word[:60]!r}")
    rest = ctypes.c_char_p(word.encode())
    parts = []
    while rest.value is not None:
        found = engine.espeak_TextToPhonemes(ctypes.byref(rest), _CHARS_UTF8, _IPA_SEPARATED)
        parts.append(found.decode())
    text = "_".join(parts).replace(" ", "_").translate(_NOT_PHONES)
    return tuple(filter(None, _VOICE_CHANGE.sub("_", text).split("_")))


def list_languages() -> tuple[str, ...]:
    """Languages and accents of the installed eSpeak NG, sorted.

    Raises:
        MissingExtraError: The extra `demo` is not installed.
    """
    return tuple(sorted(_languages()))


@cache
def list_variants() -> tuple[str, ...]:
    """Voice variants of the installed eSpeak NG, sorted.

    Raises:
        MissingExtraError: The extra `demo` is not installed.
    """
    _, data = _paths()
    return tuple(sorted(path.name for path in (data / "voices" / "!v").iterdir()))


def _paths() -> tuple[Path, Path]:
    with require_extra("demo", "speech synthesis"):
        import espeakng_loader
    data = Path(espeakng_loader.get_data_path())
    length = len(os.fsencode(data))
    if length > _MAX_DATA_PATH_BYTES:
        raise ConfigError(
            f"the path of the eSpeak NG data is {length} bytes long, at most "
            f"{_MAX_DATA_PATH_BYTES} work: {data}",
            hint="install into an environment with a shorter path",
        )
    return Path(espeakng_loader.get_library_path()), data


@contextmanager
def _engine() -> Iterator[ctypes.CDLL]:
    """A freshly loaded and initialised library, for one caller at a time."""
    library, data = _paths()
    with _LOCK:
        engine = ctypes.CDLL(str(library))
        try:
            engine.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceRecord))
            rate_hz = engine.espeak_Initialize(
                _AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data), _INITIALIZE_DONT_EXIT
            )
            if rate_hz != NATIVE_RATE_HZ:
                raise ConfigError(
                    f"eSpeak NG does not start with the data in {data} (status {rate_hz})",
                    hint="reinstall the package espeakng-loader",
                )
            engine.espeak_ng_SetRandSeed(ctypes.c_long(1))
            yield engine
            engine.espeak_Terminate()
        finally:
            _unload(engine)


def _unload(engine: ctypes.CDLL) -> None:
    if sys.platform == "win32":
        _ctypes.FreeLibrary(engine._handle)
    else:
        _ctypes.dlclose(engine._handle)


@cache
def _languages() -> dict[str, str]:
    """Language name to voice identifier; `espeak_SetVoiceByName` does not know every language."""
    identifiers: dict[str, str] = {}
    with _engine() as engine:
        records = engine.espeak_ListVoices(None)
        index = 0
        while records[index]:
            record = records[index].contents
            # `languages` is one byte of priority, then the first language, ended by a zero byte.
            language = ctypes.string_at(record.languages + 1).decode()
            identifiers.setdefault(language, record.identifier.decode())
            index += 1
    return identifiers


def _identifier(voice: Voice) -> str:
    languages = _languages()
    if voice.language not in languages:
        raise _unknown("language", voice.language, tuple(languages))
    if voice.variant is None:
        return languages[voice.language]
    if voice.variant not in list_variants():
        raise _unknown("variant", voice.variant, list_variants())
    return f"{languages[voice.language]}+{voice.variant}"


def _unknown(kind: str, name: str, known: Sequence[str]) -> ConfigError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(sorted(known))}"
    return ConfigError(f"eSpeak NG has no {kind} {name!r}", hint=hint)


def _set_parameters(engine: ctypes.CDLL, voice: Voice) -> None:
    values = {
        _RATE: voice.rate_wpm,
        _VOLUME: 100,
        _PITCH: voice.pitch,
        _RANGE: voice.pitch_range,
        _WORDGAP: voice.word_gap,
    }
    for parameter, value in values.items():
        _require(engine.espeak_SetParameter(parameter, value, 0), f"parameter {parameter}")


def _speak(engine: ctypes.CDLL, text: str, flags: int) -> None:
    if sys.platform != "win32":
        ctypes.CDLL(None).srand(1)
    encoded = text.encode()
    status = engine.espeak_Synth(
        encoded,
        ctypes.c_size_t(len(encoded) + 1),
        0,
        _POS_CHARACTER,
        0,
        _CHARS_UTF8 | flags,
        None,
        None,
    )
    _require(status, "synthesis")
    _require(engine.espeak_Synchronize(), "synthesis")


def _require(status: int, what: str) -> None:
    if status != 0:
        raise ConfigError(f"eSpeak NG refused {what} (status {status})")
