"""Yes and no, eight words a file; `python recipes/yesno/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import Recipe, main

if __name__ == "__main__":
    main(Recipe(Path(__file__).parent, corpus="yesno", folder="waves_yesno"))
