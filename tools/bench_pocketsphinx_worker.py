"""Runs in the environment of pocketsphinx, for `tools/bench_pocketsphinx.py`.

Arguments: a directory and a number N; it holds `0.raw` to `N - 1.raw`, 16 bit mono samples at
16 kHz in this machine's byte order. For each a JSON line goes to standard output: `text`, and the
`seconds` of processor time that recognising it took.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pocketsphinx import Decoder


def main() -> None:
    """Recognise every file with the English model in the wheel and its own settings."""
    directory, num = Path(sys.argv[1]), int(sys.argv[2])
    decoder = Decoder(loglevel="FATAL")
    for index in range(num):
        samples = (directory / f"{index}.raw").read_bytes()
        start = time.process_time()
        decoder.start_utt()
        decoder.process_raw(samples, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        seconds = time.process_time() - start
        text = "" if hypothesis is None else hypothesis.hypstr
        print(json.dumps({"text": text, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
