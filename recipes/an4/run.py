"""AN4: spelled names, numbers, dates and commands; `python recipes/an4/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import Recipe, main

if __name__ == "__main__":
    main(Recipe(Path(__file__).parent, corpus="an4", folder="an4", lm_order=4))
