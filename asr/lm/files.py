"""Language model files of either kind: ARPA text, or the mapped binary."""

from __future__ import annotations

from pathlib import Path

from asr.errors import DataError
from asr.lm.arpa import read_opened_arpa
from asr.lm.arpa_writing import write_arpa
from asr.lm.binary import MAGIC, read_binary, write_binary
from asr.lm.ngram import NgramModel
from asr.lm.opening import opened

BINARY_SUFFIX = ".bin"
ARPA_SUFFIX = ".arpa"
PACKED_SUFFIXES = [ARPA_SUFFIX, ".gz"]


def read_model(path: Path | str) -> NgramModel:
    """Read a model; which kind of file it is, its first bytes say.

    Raises:
        DataError: It cannot be read, is a malformed ARPA file, or a binary that comes through a
            pipe.
        ModelFileError: It is a damaged binary.
    """
    path = Path(path)
    with opened(path) as source:
        if not source.beginning.startswith(MAGIC):
            return read_opened_arpa(source)
    if not path.is_file():
        raise DataError(
            f"{path} is a binary model, which is mapped into memory: expected a file, got a pipe",
            hint="name the file, or send the model as ARPA text",
        )
    return read_binary(path)


def write_model(model: NgramModel, path: Path | str) -> None:
    """Write a model as the name asks: `.arpa`, `.arpa.gz`, or `.bin` for the mapped binary.

    Raises:
        DataError: Another name, or the file cannot be written.
    """
    path = Path(path)
    check_model_name(path)
    if path.suffix == BINARY_SUFFIX:
        write_binary(model, path)
    else:
        write_arpa(model, path)


def check_model_name(path: Path) -> None:
    """Refuse a name that does not say which kind of file to write.

    Raises:
        DataError: It ends in none of the suffixes of `write_model`.
    """
    is_packed = path.suffixes[-2:] == PACKED_SUFFIXES
    if not is_packed and path.suffix not in (BINARY_SUFFIX, ARPA_SUFFIX):
        raise DataError(
            f"{path} does not say what to write", hint="name it .arpa, .arpa.gz or .bin"
        )
