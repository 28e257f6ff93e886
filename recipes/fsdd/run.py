"""Connected digits of six speakers; `python recipes/fsdd/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import Recipe, Source, main

if __name__ == "__main__":
    main(Recipe(Path(__file__).parent, [Source("fsdd", "fsdd", {"connected": 150})]))
