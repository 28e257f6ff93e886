"""`asr lm`: build, measure, mix, prune and adapt n-gram language models."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.arguments import WritesLike, parse_numbers
from asr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from asr.lm.ngram import NgramModel

lm_app = typer.Typer(
    help="Build, measure, mix, prune and adapt n-gram language models.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Texts = Annotated[
    list[Path],
    typer.Argument(
        metavar="TEXT…",
        help="One sentence a line, UTF-8, plain or gzip; or a manifest (.jsonl): its transcripts.",
    ),
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="A name in .arpa, .arpa.gz or .bin."),
]


@lm_app.command()
def build(
    texts: Texts,
    output: Output,
    order: Annotated[int, typer.Option(help="Length of the longest n-grams.")] = 3,
    prune: Annotated[
        str,
        typer.Option(
            metavar="COUNTS",
            help='Drop n-grams that occur so often or less, for each order: "0 0 1" drops '
            "trigrams, and longer ones, that occur once.",
        ),
    ] = "0",
    vocab: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The words of the model, UTF-8, plain or gzip, between white space; others become "
            "<unk>.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Words that stand for each other, such as digits or names: a class a line, its "
            "name, a colon, its words.",
        ),
    ] = None,
    run_words: Annotated[
        int | None,
        typer.Option(help="Words sorted in memory, 40 bytes each; the rest goes through files."),
    ] = None,
    model: WritesLike = None,
) -> None:
    """Estimate an interpolated modified Kneser-Ney model from TEXT.

    The model equals that of KenLM's lmplz. Texts may be larger than memory; the model may not.
    """
    from asr.config import parse_options
    from asr.files import check_output
    from asr.lm.classes import read_classes
    from asr.lm.files import check_model_name
    from asr.lm.kneser_ney import BuildOptions, build_model

    check_model_name(output)
    others = [path for path in (vocab, classes) if path is not None]
    check_output(output, [*texts, *others, *_files_of(model)])
    values: dict[str, object] = {"order": order, "prune": parse_numbers("--prune", prune, int)}
    if run_words is not None:
        values["run_words"] = run_words
    options = parse_options(BuildOptions, values, "the command line")
    words = None if vocab is None else _read_words(vocab, _as_written(model))
    alike = [] if classes is None else read_classes(classes, _as_written(model))
    with _written_like(model, texts) as sources:
        built = build_model(sources, options, words, alike)
    for n, (count, discounts) in enumerate(
        zip(built.model.num_ngrams, built.discounts, strict=True), 1
    ):
        amounts = " ".join(f"{amount:.4g}" for amount in discounts.amounts)
        note = " (fallback: too few counts to estimate)" if discounts.is_fallback else ""
        sys.stderr.write(f"{n}-grams: {count}, discounts {amounts}{note}\n")
    _write(built.model, output)


@lm_app.command()
def perplexity(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="ARPA or binary.")],
    texts: Texts,
    like: WritesLike = None,
) -> None:
    """How well MODEL predicts TEXT; sentence ends count as words, if MODEL has </s>."""
    from asr.lm.perplexity import measure_perplexity
    from asr.progress import working

    read = _read(model)
    with _written_like(like, texts) as sources, working("measuring"):
        found = measure_perplexity(read, sources)
    typer.echo(f"perplexity including unknown words: {found.including_unknown:.4f}")
    typer.echo(f"perplexity excluding unknown words: {found.excluding_unknown:.4f}")
    typer.echo(
        f"{found.num_sentences} sentences, {found.num_words} words, {found.num_unknown} unknown"
    )
    if 2 * found.num_unknown > found.num_words:
        sys.stderr.write(
            "the model lacks most of the words: does it write them otherwise, such as in small "
            "letters? --model writes the text as a recogniser does\n"
        )
    if not found.num_ends:
        sys.stderr.write("the model has no </s>: sentence ends are not scored and do not count\n")


@lm_app.command()
def interpolate(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL…", help="Two or more, ARPA or binary.")
    ],
    output: Output,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help='One for each model: "0.7 0.3"; together they are 1. A model of weight 0 is left '
            "out, with the words that it alone has.",
        ),
    ] = None,
    tune: Annotated[
        list[Path] | None,
        typer.Option(metavar="TEXT", help="Find the weights that predict this held-out text best."),
    ] = None,
    like: WritesLike = None,
) -> None:
    """Mix models into one, with given weights or those that suit a text."""
    from asr.files import check_output
    from asr.lm.files import check_model_name
    from asr.lm.mixing import best_weights
    from asr.lm.mixing import interpolate_models as mix
    from asr.progress import working

    check_model_name(output)
    check_output(output, [*(tune or []), *_files_of(like)])
    if len(models) < 2:
        raise ConfigError(
            "there is nothing to mix with one model",
            hint="name two or more; `asr lm adapt` mixes a text into one",
        )
    if (weights is None) == (not tune):
        raise ConfigError("give either --weights or --tune")
    if like is not None and not tune:
        raise ConfigError("--model writes the text of --tune, and there is none")
    read = [_read(path) for path in models]
    if tune:
        with _written_like(like, tune) as sources, working("finding weights"):
            chosen = best_weights(read, sources)
    else:
        chosen = parse_numbers("--weights", weights or "", float)
    _write(mix(read, chosen), output)
    shown = " ".join(f"{weight:.4f}" for weight in chosen)
    sys.stderr.write(f"weights: {shown}\n")


@lm_app.command()
def prune(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="ARPA or binary.")],
    output: Output,
    threshold: Annotated[
        float,
        typer.Option(
            help="Relative change of perplexity that dropping one n-gram may cause; 0 drops none."
        ),
    ] = 1e-8,
) -> None:
    """Drop the n-grams whose loss changes MODEL least (relative entropy)."""
    from asr.files import check_output
    from asr.lm.files import check_model_name
    from asr.lm.pruning import prune as drop

    check_model_name(output)
    check_output(output, ())
    whole = _read(model)
    pruned = drop(whole, threshold)
    for n, (before, after) in enumerate(zip(whole.num_ngrams, pruned.num_ngrams, strict=True), 1):
        sys.stderr.write(f"{n}-grams: {before} -> {after}\n")
    _write(pruned, output)


@lm_app.command()
def adapt(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="ARPA or binary.")],
    texts: Texts,
    output: Output,
    weight: Annotated[
        float,
        typer.Option(help="Share of the sentences in the mixture: 0 leaves BASE as it is, 1 out."),
    ] = 0.5,
    like: WritesLike = None,
) -> None:
    """Mix a model of the sentences in TEXT into BASE; new words join the vocabulary."""
    from asr.files import check_output
    from asr.lm.files import check_model_name
    from asr.lm.mixing import adapt as mix_in

    check_model_name(output)
    check_output(output, [*texts, *_files_of(like)])
    with _written_like(like, texts) as sources:
        adapted = mix_in(_read(base), sources, weight)
    _write(adapted, output)


def _read(path: Path) -> NgramModel:
    from asr.lm.files import read_model
    from asr.progress import working

    with working(f"reading {path.name}"):
        return read_model(path)


def _write(model: NgramModel, path: Path) -> None:
    from asr.lm.files import write_model
    from asr.progress import working

    with working(f"writing {path.name}"):
        write_model(model, path)


def _files_of(model: str | None) -> list[Path]:
    """What is read where words are written as a model does."""
    from asr.shipped import resolve_model

    return [] if model is None else [resolve_model(model)]


def _as_written(model: str | None) -> Callable[[str], str]:
    """What leaves words as they stand, or writes them as the transcripts of a model are."""
    if model is None:
        return str
    from asr.cli.model_text import text_of_model
    from asr.text import normalize

    config = text_of_model(model)
    return lambda text: normalize(text, config)


@contextmanager
def _written_like(model: str | None, texts: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """The texts, or for the block copies of them as the transcripts of a model are written.

    Errors in the block name the texts; a copy has their lines, by number.
    """
    if model is None:
        yield texts
        return
    from asr.cli.model_text import text_of_model
    from asr.progress import working
    from asr.word_files import normalize_text_file

    config = text_of_model(model)
    with tempfile.TemporaryDirectory(prefix="asr-") as directory:
        copies = [Path(directory) / f"{index}.txt" for index in range(len(texts))]
        for path, copy in zip(texts, copies, strict=True):
            with working(f"normalising {path.name}"):
                normalize_text_file(path, copy, config)
        try:
            yield copies
        except DataError as error:
            message = error.message
            for path, copy in zip(texts, copies, strict=True):
                message = message.replace(str(copy), str(path))
            raise DataError(message, error.hint) from None


def _read_words(path: Path, written: Callable[[str], str]) -> list[str]:
    """The words of a vocabulary; those that every model has, such as `<unk>`, may be among them."""
    from asr.lm.counting import MARKS, text_lines

    # Words as a text has them: only ASCII white space separates them.
    found = (word for line in text_lines(path) for word in line.encode().split())
    parts = (written(word.decode()).encode().split() for word in found if word not in MARKS)
    words = [part.decode() for parts_of_word in parts for part in parts_of_word]
    if not words:
        raise DataError(f"{path} holds no word", hint="write the words of the model, one a line")
    return words
