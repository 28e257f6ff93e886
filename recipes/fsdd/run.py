"""Connected digits of six speakers; `python recipes/fsdd/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import Recipe, main

if __name__ == "__main__":
    main(Recipe(Path(__file__).parent, corpus="fsdd", folder="fsdd", options={"connected": 150}))
