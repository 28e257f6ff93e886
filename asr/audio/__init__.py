"""Audio files: what they hold, reading them, resampling, writing.

soundfile (libsndfile) decodes, torchaudio resamples; this package refuses what those two would
let pass: files cut off, ranges past the end, samples that are not numbers.
"""

from asr.audio.headers import (
    PCM_ENCODINGS,
    UNREAD_SUFFIXES,
    AudioInfo,
    PcmFormat,
    conversion,
    probe_audio,
)
from asr.audio.pauses import cut_at_pauses, heard_range, pause_cuts
from asr.audio.reading import ReadOptions, read_audio, sample_range
from asr.audio.resampling import num_resampled, resample
from asr.audio.waveform import Channel, Waveform, check_channel, to_mono
from asr.audio.writing import write_audio

__all__ = [
    "PCM_ENCODINGS",
    "UNREAD_SUFFIXES",
    "AudioInfo",
    "Channel",
    "PcmFormat",
    "ReadOptions",
    "Waveform",
    "check_channel",
    "conversion",
    "cut_at_pauses",
    "heard_range",
    "num_resampled",
    "pause_cuts",
    "probe_audio",
    "read_audio",
    "resample",
    "sample_range",
    "to_mono",
    "write_audio",
]
