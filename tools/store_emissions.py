"""Store a model's emissions for a manifest, small enough to keep with the tests.

    python tools/store_emissions.py MODEL MANIFEST OUT.npz [--limit 100]

Log-probabilities are rounded to eighths, from 0 to -31.875, one byte each;
`tests/test_stored_emissions.py` normalises them again. With them go the references, in the text
profile of the model, and the tokenizer, so that decoders can be compared without audio or model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from asr.audio import read_audio
from asr.files import atomic_path
from asr.manifest import read_manifest
from asr.recognizer import Recognizer
from asr.text import normalize

STEPS_PER_NAT = 8


def main() -> None:
    """Parse, recognise, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, default=100, help="utterances, spread evenly")
    arguments = parser.parse_args()
    recognizer = Recognizer.load(arguments.model, "cpu")
    utterances = read_manifest(arguments.manifest)
    chosen = utterances[:: -(-len(utterances) // arguments.limit)]
    emissions, references = [], []
    for one in chosen:
        waveform = read_audio(one.audio_path, one.read_options(recognizer.sample_rate_hz))
        emissions.append(recognizer.emissions([waveform])[0])
        references.append(normalize(one.text, recognizer.config.text))
    steps = np.minimum(np.rint(-STEPS_PER_NAT * np.concatenate(emissions)), 255)
    with atomic_path(arguments.out) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            steps=steps.astype(np.uint8),
            lengths=[len(one) for one in emissions],
            references=references,
            tokenizer=json.dumps(recognizer.tokenizer.to_dict()),
            frame_s=recognizer.frame_s,
        )
    print(f"{len(chosen)} utterances, {len(steps)} frames: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
