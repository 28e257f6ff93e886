"""LibriSpeech: English audio books; `python recipes/librispeech/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import Recipe, Source, main

if __name__ == "__main__":
    main(Recipe(Path(__file__).parent, [Source("librispeech", "LibriSpeech")]))
