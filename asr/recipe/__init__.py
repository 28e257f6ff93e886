"""Recipes: a corpus, its settings, and the stages from its files to a word error rate.

`recipes/<name>/run.py` names the corpora and calls `main`; everything else is here. The stages are
prepare → check → train → tune → evaluate → report. A stage whose result is there is skipped, so a
recipe that was stopped goes on where it was; a model of other settings is refused. A recipe with a
language model tunes the beam search with it on the development data; then both decoders are scored
on the test sets of every corpus.
"""

from asr.recipe.command import main
from asr.recipe.description import Recipe, Source
from asr.recipe.language_model import LmOptions
from asr.recipe.stages import STAGES

__all__ = ["STAGES", "LmOptions", "Recipe", "Source", "main"]
