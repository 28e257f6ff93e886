"""Mozilla Common Voice: crowd-sourced sentences in over a hundred languages.

Licence: CC0 (public domain dedication).

Address: https://commonvoice.mozilla.org/datasets; the download asks to agree not to identify
speakers, so it cannot be automated.

Layout, of one language's folder (`cv-corpus-…/en/`):

    train.tsv, dev.tsv, test.tsv, validated.tsv, …
    clips/common_voice_en_1.mp3   (or another format that the table names)

A table has a header and no quoting; its columns `path` and `sentence` are needed, `client_id`, a
hash that stands for the speaker, is used where present: splits that share one are refused. The
first release (v1) has no such column; the splits that the recipes here use are by sentence: none is
in two of them, but speakers may be. Official splits leave out repeated sentences, so
`validated.tsv` is much larger; `--validated` divides that one instead, as happens where it is the
only table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asr.corpora.layout import read_rows
from asr.corpora.listing import Entry, Importer, Listing
from asr.corpora.splits import SPLITS, SplitOptions, complete_splits
from asr.errors import DataError

NEEDED_COLUMNS = ("path", "sentence")


class CommonVoiceOptions(SplitOptions):
    """What to divide, and how.

    Attributes:
        validated: Divide `validated.tsv` instead of taking the official splits.
    """

    validated: bool = False


def find_commonvoice(source: Path, options: CommonVoiceOptions) -> Listing:
    """Official splits, or those made of `validated.tsv`.

    Raises:
        DataError: No table, or one without the columns needed or with malformed rows.
    """
    given = {
        split: source / f"{split}.tsv" for split in SPLITS if (source / f"{split}.tsv").exists()
    }
    if options.validated or not given:
        given = {"train": source / "validated.tsv"}
    if not all(path.exists() for path in given.values()):
        raise DataError(
            f"{source} is not Common Voice: it has no "
            f"{'validated.tsv' if options.validated else 'train.tsv and no validated.tsv'}",
            hint="--source is the folder of one language, with its .tsv files and clips/",
        )
    entries = {split: _read_table(path, source / "clips") for split, path in given.items()}
    speakers_shared = options.split_by not in (None, "speaker")
    return Listing(complete_splits(entries, options), speakers_shared=speakers_shared)


def _read_table(path: Path, clips: Path) -> list[Entry]:
    columns, rows = read_rows(path, delimiter="\t", quoted=False)
    missing = [name for name in NEEDED_COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"{path} has no column {' and no column '.join(missing)}; it has {', '.join(columns)}"
        )
    return [_entry(row, clips) for _, row in rows]


def _entry(row: Mapping[str, str], clips: Path) -> Entry:
    path = clips / row["path"]
    return Entry(path.stem, path, row["sentence"], speaker=row.get("client_id") or None)


IMPORTER = Importer(CommonVoiceOptions, find_commonvoice)
