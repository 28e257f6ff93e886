"""Make `data/digits`: a few digit utterances for the tests and the README's examples.

They are test utterances of the digit corpus, so the voices are unheard by a model that
`recipes/digits` trained. Speech and noise are synthetic; no recording of anybody is in them.

    python tools/make_sample_speech.py [--out DIR]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from asr.audio import write_audio
from asr.corpora.digits import DigitsConfig, speak_digits
from asr.manifest import Utterance, write_manifest

DEFAULT_OUT = Path(__file__).resolve().parent.parent / "data" / "digits"

INDICES = (0, 4, 7, 9, 17)
"""Five voices and accents, two to seven words, 11 s in all."""


def main() -> None:
    """Write the audio as FLAC, and its manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    out = parser.parse_args().out.absolute()
    utterances = []
    for index in INDICES:
        text, voice, waveform = speak_digits("test", index, DigitsConfig())
        path = out / f"digits-{index:02d}.flac"
        write_audio(path, waveform)
        utterances.append(
            Utterance(
                id=path.stem,
                audio_path=path,
                duration_s=waveform.duration_s,
                text=text,
                speaker=f"{voice.language}+{voice.variant}",
            )
        )
    write_manifest(out / "manifest.jsonl", utterances)


if __name__ == "__main__":
    main()
