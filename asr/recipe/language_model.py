"""The language model of a recipe: one of each corpus' transcripts and one of other text, mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from asr.config import Options
from asr.lm.classes import classes_within, read_classes
from asr.lm.counting import text_blocks
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.mixing import best_weights, interpolate_models
from asr.lm.ngram import NgramModel
from asr.lm.pruning import prune


class LmOptions(Options):
    """A language model of training transcripts, and of running text beside them.

    Attributes:
        order: Length of the longest n-grams.
        prose: Texts below the corpora directory, plain or gzip, cut into sentences by `asr.prose`.
        vocabulary: Only so many of the most frequent words of the prose, beside all words of the
            transcripts, and only those that the transcripts' letters can spell. None for all.
        classes: File of `asr.lm.classes`: words that stand for each other, written as the
            normalised transcripts write them; words that these lack are left out.
        prune: N-grams are dropped whose loss changes the perplexity by less than this share; 0
            keeps them all.
    """

    order: int = Field(default=3, ge=1, le=16)
    prose: tuple[str, ...] = ()
    vocabulary: int | None = Field(default=None, ge=1)
    classes: Path | None = None
    prune: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class LmTexts:
    """Normalised texts, one sentence a line.

    Attributes:
        transcripts: Training transcripts, a file for each corpus.
        prose: Other texts.
        dev: Development transcripts, which choose the shares.
    """

    transcripts: Sequence[Path]
    prose: Sequence[Path]
    dev: Path


@dataclass(frozen=True)
class MixedModel:
    """A model, and the share that each text has in it, by the name of the text."""

    model: NgramModel
    shares: Sequence[tuple[str, float]]

    def summary(self) -> str:
        """For people: how many n-grams, and the shares where there are several."""
        sizes = self.model.num_ngrams
        line = (
            f"{self.model.order}-gram language model, {sum(sizes):,} n-grams of {sizes[0]:,} words"
        )
        if len(self.shares) > 1:
            line += ": " + ", ".join(f"{share:.3f} of {name}" for name, share in self.shares)
        return line


def mix_language_model(texts: LmTexts, options: LmOptions) -> MixedModel:
    """Build a model of each text, mix them as the development transcripts want, and prune.

    Raises:
        DataError: A text cannot be read, or nothing of the development text is known.
    """
    words = None if options.vocabulary is None else vocabulary_of(texts, options.vocabulary)
    build = BuildOptions(order=options.order)
    parts = [_model_of(path, build, options.classes) for path in texts.transcripts]
    parts += [build_model([path], build, words).model for path in texts.prose]
    shares, mixed = [1.0], parts[0]
    if len(parts) > 1:
        shares = best_weights(parts, [texts.dev])
        mixed = interpolate_models(parts, shares)
    if options.prune:
        mixed = prune(mixed, options.prune)
    names = [path.stem for path in (*texts.transcripts, *texts.prose)]
    return MixedModel(mixed, list(zip(names, shares, strict=True)))


def _model_of(transcripts: Path, build: BuildOptions, classes: Path | None) -> NgramModel:
    """Of one corpus; classes say nothing of words that it lacks."""
    known = frozenset(words_of(transcripts)) if classes is not None else frozenset()
    alike = [] if classes is None else classes_within(read_classes(classes), known)
    return build_model([transcripts], build, classes=alike).model


def vocabulary_of(texts: LmTexts, num_frequent: int | None) -> list[str]:
    """Words of the transcripts, then the most frequent other ones that can be spelled.

    Args:
        texts: Where the words are from.
        num_frequent: How many of the prose; None for all.
    """
    own = dict.fromkeys(word for path in texts.transcripts for word in words_of(path))
    letters = set("".join(own))
    counts = Counter(
        word for path in texts.prose for word in words_of(path) if letters.issuperset(word)
    )
    return list(own | dict.fromkeys(word for word, _ in counts.most_common(num_frequent)))


def words_of(path: Path) -> Iterator[str]:
    """The words of a text, one after the other."""
    for block, _ in text_blocks(path):
        yield from block.decode("utf-8").split()
