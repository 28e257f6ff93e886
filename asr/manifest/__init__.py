"""Manifests: which utterances a set has, one JSON object a line (UTF-8).

Keys are the fields of `Utterance`; `id`, `audio_path`, `duration_s` and `text` are required, the
others are left out where they have their default. No other key is allowed: a misspelled `start_s`
must not pass as a remark. `audio_path` is relative to the manifest's folder, or absolute, so a
folder with manifest and audio can be moved::

    {"id": "fash-an251", "audio_path": "wav/an251.flac", "duration_s": 1.75, "text": "YES"}
"""

from asr.manifest.checking import Problem, check_manifest, require_readable
from asr.manifest.lines import read_manifest, read_manifests, write_manifest
from asr.manifest.utterance import Utterance

__all__ = [
    "Problem",
    "Utterance",
    "check_manifest",
    "read_manifest",
    "read_manifests",
    "require_readable",
    "write_manifest",
]
