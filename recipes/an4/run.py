"""AN4: spelled names, numbers, dates and commands; `python recipes/an4/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import LmOptions, Recipe, Source, main

if __name__ == "__main__":
    directory = Path(__file__).parent
    lm = LmOptions(order=4, classes=directory / "classes.txt")
    main(Recipe(directory, [Source("an4", "an4")], lm))
