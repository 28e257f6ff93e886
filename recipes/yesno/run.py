"""Yes and no, eight words a file; `python recipes/yesno/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import Recipe, Source, main

if __name__ == "__main__":
    main(Recipe(Path(__file__).parent, [Source("yesno", "waves_yesno")]))
