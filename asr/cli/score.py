"""`asr score`: word, character and sentence error rate of hypotheses against references."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from asr.errors import ConfigError, DataError
from asr.transcripts import Format, format_of, read_transcripts

FormatName = Literal["auto", "text", "kaldi", "jsonl", "trn"]


def score(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="What was said.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="What was recognised.")],
    file_format: Annotated[
        FormatName,
        typer.Option(
            "--format",
            help="text (line by line), kaldi (`id words`), jsonl (`id`, `text`; manifests, "
            "and what `asr evaluate --out` writes), trn (`words (id)`); auto goes by the suffixes "
            ".jsonl and .trn.",
        ),
    ] = "auto",
    hypothesis_format: Annotated[
        FormatName | None,
        typer.Option("--hyp-format", help="Format of HYP where it is not that of REF."),
    ] = None,
    text_profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Normalise both sides first: none (only Unicode NFC), lower, upper or letters.",
        ),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Language code, for the casing of the text profile.")
    ] = None,
    per_utterance: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write counts and alignment, one JSON line each."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Word, character and sentence error rate of HYP against REF.

    Utterances are paired by id (text: by line); an id that only one side has is an error. Rates are
    pooled over all utterances. Characters include the blanks between words. For an empty reference,
    whatever was recognised counts as insertions.
    """
    import json

    from asr.evaluation import score_texts
    from asr.files import check_output

    if per_utterance is not None:
        check_output(per_utterance, (reference, hypothesis))
    normalized, profile = _normalizer(text_profile, language)
    sides = _read_pair(reference, file_format, hypothesis, hypothesis_format)
    report = score_texts(*({key: normalized(side[key]) for key in side} for side in sides))
    if per_utterance is not None:
        report.write_utterances(per_utterance)
    if as_json:
        typer.echo(json.dumps({**report.to_dict(), "text_profile": profile}))
    else:
        typer.echo("\n".join(report.lines(profile)))


def _normalizer(profile: str | None, language: str | None) -> tuple[Callable[[str], str], str]:
    """The function that normalises both sides, and what the report calls it."""
    if profile is None:
        if language is not None:
            raise ConfigError("--language has no meaning without --text-profile")
        return str, "as written"
    from asr.config import parse_options
    from asr.text import TextConfig, normalize

    values = {"profile": profile, "language": language}
    config = parse_options(TextConfig, values, "--text-profile and --language")
    name = profile if language is None else f"{profile} ({language})"
    return lambda text: normalize(text, config), name


def _read_pair(
    reference: Path, file_format: FormatName, hypothesis: Path, hypothesis_format: FormatName | None
) -> tuple[dict[str, str], dict[str, str]]:
    formats = (
        _resolve(reference, file_format),
        _resolve(hypothesis, hypothesis_format or file_format),
    )
    sides = (
        read_transcripts(reference, formats[0], "reference"),
        read_transcripts(hypothesis, formats[1], "hypothesis"),
    )
    if "text" in formats:
        _check_lines(formats, (len(sides[0]), len(sides[1])))
    return sides


def _resolve(path: Path, name: FormatName) -> Format:
    return format_of(path) if name == "auto" else name


def _check_lines(formats: tuple[Format, Format], num_lines: tuple[int, int]) -> None:
    if formats[0] != formats[1]:
        raise DataError(
            f"cannot pair {formats[0]} with {formats[1]}: text has line numbers, no ids",
            hint="give both sides as text, or both with ids",
        )
    if num_lines[0] != num_lines[1]:
        raise DataError(
            "references and hypotheses differ: "
            f"{num_lines[0]} lines of reference, {num_lines[1]} of hypothesis",
            hint="text is paired line by line; an empty line stands for an empty utterance",
        )
