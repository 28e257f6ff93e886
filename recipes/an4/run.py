"""AN4: spelled names, numbers, dates and commands; `python recipes/an4/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import LmOptions, Recipe, Source, main

if __name__ == "__main__":
    main(Recipe(Path(__file__).parent, [Source("an4", "an4")], LmOptions(order=4)))
