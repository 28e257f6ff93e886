"""Synthesised English digits, from nothing to a word error rate: `python recipes/digits/run.py`."""

from pathlib import Path

from asr.recipe import Recipe, Source, main

if __name__ == "__main__":
    main(Recipe(Path(__file__).parent, [Source("digits")]))
