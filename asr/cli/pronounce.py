"""`asr pronounce`: a pronunciation dictionary of the words in texts, for phones as tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.arguments import WritesLike
from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.text import TextConfig


def pronounce(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE…",
            help="Manifests (.jsonl), language models (.arpa, .arpa.gz, .bin), and texts or word "
            "lists, plain or gzip.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the dictionary goes.")],
    language: Annotated[
        str, typer.Option(help="Language of eSpeak NG: en-us, de, tr and many more.")
    ] = "en-us",
    base: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Dictionary, in the manner of CMUdict or Kaldi, whose pronunciations come first; "
            "repeat. Its phones must be those of eSpeak NG, or it must have all words.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="How transcripts are normalised, `text.profile` of the training: none, lower "
            "(the default), upper or letters."
        ),
    ] = None,
    model: WritesLike = None,
) -> None:
    """Write the words of SOURCE, each with its phones, for training with tokens.kind = "phone".

    The words that texts and manifests have most often come first: of words that sound alike the
    first is written where nothing else decides. A word without pronunciation is named on standard
    error and left out; the exit status is then 1. Phones of American English (en-us) are merged
    to forty, those of other languages are as eSpeak NG has them.
    """
    from asr.files import check_output
    from asr.pronouncing import pronounce_words, ranked_words, read_bases, write_dictionary
    from asr.shipped import resolve_model

    models = [] if model is None else [resolve_model(model)]
    check_output(out, (*sources, *(base or ()), *models))
    text = _text(profile, model, language)
    words = ranked_words(sources, text)
    found = pronounce_words(words, language, read_bases(base or (), text))
    for word, reason in found.left_out.items():
        typer.echo(f"left out: {word!r}: {reason}", err=True)
    if found.foreign_phones:
        typer.echo(
            f"warning: phones of --base that eSpeak NG did not use: "
            f"{' '.join(found.foreign_phones)}; one model needs one set of phones",
            err=True,
        )
    write_dictionary(out, found.dictionary)
    phones = {phone for ways in found.dictionary.values() for way in ways for phone in way}
    typer.echo(f"{out}  {len(found.dictionary)} words  {len(phones)} phones")
    if found.left_out:
        plural = "word" if len(found.left_out) == 1 else "words"
        typer.echo(f"error: {len(found.left_out)} {plural} left out", err=True)
        raise typer.Exit(1)


def _text(profile: str | None, model: str | None, language: str) -> TextConfig:
    """How transcripts are normalised; without a model the language's rules of casing hold."""
    if model is not None:
        from asr.cli.model_text import text_of_model

        if profile is not None:
            raise ConfigError("give either --profile or --model")
        return text_of_model(model)
    from asr.config import parse_options
    from asr.text import TextConfig

    values = {"language": language.partition("-")[0]}
    if profile is not None:
        values["profile"] = profile
    return parse_options(TextConfig, values, "the command line")
