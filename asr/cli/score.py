"""`asr score`: word, character and sentence error rate of hypotheses against references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from asr.errors import DataError
from asr.transcripts import Format, format_of, read_transcripts

FormatName = Literal["auto", "text", "kaldi", "jsonl", "trn"]


def score(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="What was said.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="What was recognised.")],
    file_format: Annotated[
        FormatName,
        typer.Option(
            "--format",
            help="text (line by line), kaldi (`id words`), jsonl (`id`, `text`; manifests), "
            "trn (`words (id)`); auto goes by the suffixes .jsonl and .trn.",
        ),
    ] = "auto",
    hypothesis_format: Annotated[
        FormatName | None,
        typer.Option("--hyp-format", help="Format of HYP where it is not that of REF."),
    ] = None,
    text_profile: Annotated[
        str, typer.Option(help="Normalisation of both sides (asr.text); none: NFC.")
    ] = "none",
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

    from asr.config import parse_options
    from asr.evaluation import score_texts
    from asr.text import TextConfig, normalize

    profile = {"profile": text_profile, "language": language}
    config = parse_options(TextConfig, profile, "--text-profile and --language")
    references, hypotheses = (
        {key: normalize(text, config) for key, text in texts.items()}
        for texts in _read_pair(reference, file_format, hypothesis, hypothesis_format)
    )
    report = score_texts(references, hypotheses)
    if per_utterance is not None:
        report.write_utterances(per_utterance)
    if as_json:
        typer.echo(json.dumps({**report.to_dict(), **config.model_dump()}))
    else:
        casing = f" ({language})" if language else ""
        typer.echo("\n".join(report.lines(f"{text_profile}{casing}")))


def _read_pair(
    reference: Path, file_format: FormatName, hypothesis: Path, hypothesis_format: FormatName | None
) -> tuple[dict[str, str], dict[str, str]]:
    formats = (
        _resolve(reference, file_format),
        _resolve(hypothesis, hypothesis_format or file_format),
    )
    sides = (read_transcripts(reference, formats[0]), read_transcripts(hypothesis, formats[1]))
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
