"""English read by non-native speakers; `python recipes/speechocean762/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import Recipe, main

if __name__ == "__main__":
    main(Recipe(Path(__file__).parent, corpus="speechocean762", folder="speechocean762"))
