"""General English from several corpora; `python recipes/en/run.py --corpora DIR`."""

from pathlib import Path

from asr.recipe import LmOptions, Recipe, Source, main

if __name__ == "__main__":
    main(
        Recipe(
            Path(__file__).parent,
            [Source("speechocean762", "speechocean762"), Source("commonvoice", "common_voice_v1")],
            LmOptions(order=3, prose=("novels.txt.gz",), vocabulary=35_000, prune=1e-7),
        )
    )
