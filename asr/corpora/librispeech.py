"""LibriSpeech: 1,000 hours of English audio books, read by 2,484 volunteers; 16 kHz FLAC.

Licence: CC BY 4.0.

Address: https://www.openslr.org/12/; `--download SUBSET` fetches an archive from there, checks it
against the official MD5 and unpacks it into `--source`.

Layout, below `LibriSpeech/`:

    <subset>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt   84-121123-0000 GO DO YOU HEAR
    <subset>/<speaker>/<chapter>/84-121123-0000.flac

Subsets are train-clean-100, train-clean-360, train-other-500, dev-clean, dev-other, test-clean and
test-other; their speakers differ. `train`, `dev` and `test` hold all subsets present (or those
named with `--subset`), and each subset gets a manifest of its own, since results are reported on
test-clean and test-other apart.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import field_validator

from asr.config import Options, Strings
from asr.corpora.download import Archive, fetch
from asr.corpora.layout import find_audio, parse_named
from asr.corpora.listing import Entry, Importer, Listing
from asr.errors import DataError
from asr.manifest import Problem
from asr.progress import progress_bar

ADDRESS = "https://www.openslr.org/resources/12"
MD5 = {
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
}
"""Official subsets and checksums, from https://www.openslr.org/resources/12/md5sum.txt."""

FOLDER = "LibriSpeech"


class LibriSpeechOptions(Options):
    """Which subsets to fetch and to prepare; several in one string are divided by commas.

    Attributes:
        download: Subsets to fetch first, unless they are there: into the source directory, or
            beside it where that is named `LibriSpeech`.
        subset: Subsets to prepare; none for all that are there.
    """

    download: Strings = ()
    subset: Strings = ()

    @field_validator("download", "subset")
    @classmethod
    def _are_official(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for subset in value:
            if subset not in MD5:
                raise ValueError(f"unknown subset {subset!r}; known: {', '.join(MD5)}")
        return value


def find_librispeech(source: Path, options: LibriSpeechOptions) -> Listing:
    """The subsets below a folder, fetched first where asked for.

    Raises:
        DataError: No subset is there, one asked for is not, a transcript line is malformed, or a
            download fails.
    """
    home = source.parent if source.name == FOLDER else source
    for subset in options.download:
        fetch(archive_of(subset), home)
    root = home / FOLDER if (home / FOLDER).is_dir() else source
    present = [subset for subset in MD5 if (root / subset).is_dir()]
    chosen = options.subset or present
    missing = [subset for subset in chosen if subset not in present]
    if missing or not chosen:
        raise DataError(
            f"{source} holds no {' and no '.join(missing) or 'LibriSpeech subset'}",
            hint=f"fetch it with --download {(missing or ['train-clean-100'])[0]}",
        )
    chapters = {
        subset: sorted(path for path in (root / subset).glob("*/*") if path.is_dir())
        for subset in chosen
    }
    splits: dict[str, list[Entry]] = {subset: [] for subset in chosen}
    left_out: list[Problem] = []
    with progress_bar("reading transcripts", sum(map(len, chapters.values()))) as advance:
        for subset in chosen:
            for chapter in chapters[subset]:
                entries, unusable = _read_chapter(chapter)
                splits[subset] += entries
                left_out += unusable
                advance()
    return Listing(splits, left_out)


def archive_of(subset: str) -> Archive:
    """Where a subset comes from and what it makes."""
    return Archive(f"{ADDRESS}/{subset}.tar.gz", MD5[subset], f"{FOLDER}/{subset}")


def _read_chapter(folder: Path) -> tuple[list[Entry], list[Problem]]:
    speaker = folder.parent.name
    table = folder / f"{speaker}-{folder.name}.trans.txt"
    audio = {path.stem: path for path in find_audio(folder, frozenset({".flac"}))}
    if not table.exists():
        return [], [Problem(name, f"there is no {table}") for name in audio]
    texts = parse_named(table, _transcript)
    entries = [
        Entry(name, audio.get(name, folder / f"{name}.flac"), text, speaker)
        for name, text in texts.items()
    ]
    untold = [Problem(name, f"{table} has no line for it") for name in audio if name not in texts]
    return entries, untold


def _transcript(line: str) -> tuple[str, str]:
    name, space, text = line.strip().partition(" ")
    if not space or name.count("-") != 2:
        raise ValueError(f"expected `speaker-chapter-number WORDS`, got {line.strip()[:60]!r}")
    return name, text.strip()


IMPORTER = Importer(LibriSpeechOptions, find_librispeech)
