"""Options of every verb that decodes, defined once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from asr.cli.arguments import parse_numbers
from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.decoder_setup import DecodingChoice

PARAMETER = "decoding"


@dataclass(frozen=True)
class DecodingOptions:
    """What the command line says of decoding; see `asr.decoder_setup.DecodingChoice`."""

    decoder: Annotated[
        Literal["auto", "greedy", "beam"],
        typer.Option(
            help="auto: as `asr tune` stored in the model file, or as the options below want it; "
            "else greedy."
        ),
    ] = "auto"
    lm: Annotated[
        list[Path],
        typer.Option(
            "--lm", metavar="FILE", help="Language model, ARPA or binary; several are mixed."
        ),
    ] = field(default_factory=list)
    lm_mix: Annotated[
        str,
        typer.Option(
            metavar="NUMBERS", help='Weights of several --lm, "0.7,0.3".  [default: equal]'
        ),
    ] = ""
    no_lm: Annotated[
        bool, typer.Option("--no-lm", help="Do without the language model of the model file.")
    ] = False
    lexicon: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The words there are, one a line; others are possible unless "
            "--set vocabulary=closed.",
        ),
    ] = None
    hotwords: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Phrases to favour, one a line, a weight after a tab or none."
        ),
    ] = None
    hotword: Annotated[
        list[str],
        typer.Option(metavar="PHRASE[=WEIGHT]", help="One phrase to favour; repeatable."),
    ] = field(default_factory=list)
    grammar: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What can be said: rules (JSGF), or one sentence a line; other sentences are "
            "possible with --set off_grammar_score=-5.",
        ),
    ] = None
    pronunciations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="More words for a model of phones, each with its phones; see `asr pronounce`.",
        ),
    ] = None
    beam: Annotated[
        int | None, typer.Option(metavar="N", help="Prefixes that the beam search keeps.")
    ] = None
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Another setting of the beam search, as lm_weight=0.7; repeatable.",
        ),
    ] = field(default_factory=list)

    def choice(self, n_best: int | None = None) -> DecodingChoice:
        """As the recogniser wants it.

        Args:
            n_best: Of an option of its own, where the verb has one.

        Raises:
            ConfigError: Something cannot be read, a setting is unknown or out of range, or it is
                given both by an option of its own and by `--set`.
        """
        from asr.config import load_options
        from asr.decoder_setup import DecodingChoice
        from asr.decoding.options import BeamConfig

        given = load_options(BeamConfig, None, self.set_)
        settings = given.model_dump(exclude_unset=True)
        for option, name, value in (
            ("--beam", "beam_width", self.beam),
            ("--n-best", "num_best", n_best),
        ):
            if value is not None and name in settings:
                raise ConfigError(
                    f"{name} is given twice, by {option} and by --set", hint="leave one out"
                )
            if value is not None:
                settings[name] = value
        return DecodingChoice(
            decoder=self.decoder,
            lms=self.lm,
            mix=parse_numbers("--lm-mix", self.lm_mix, float),
            ignore_lm=self.no_lm,
            lexicon=self.lexicon,
            hotwords=self.hotwords,
            grammar=self.grammar,
            phrases=self.hotword,
            pronunciations=self.pronunciations,
            settings=settings,
        )


def takes_decoding_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `decoding` became options of its own on the command line."""
    own = inspect.signature(command, eval_str=True).parameters
    hints = get_type_hints(DecodingOptions, include_extras=True)
    shared = {
        one.name: inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=one.default_factory() if callable(one.default_factory) else one.default,
            annotation=hints[one.name],
        )
        for one in fields(DecodingOptions)
    }

    def run(**values: Any) -> None:
        decoding = DecodingOptions(**{name: values.pop(name) for name in shared})
        command(**values, **{PARAMETER: decoding})

    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.items()
        if name != PARAMETER
    ]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    parameters = [*kept, *shared.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run
