"""Time the log-mel front end beside its peers, and files to features beside plain reading.

    python tools/bench_features.py [--audio DIR] [--seconds 60] [--repeats 15] [--threads 1]

Every contestant makes natural-log mel energies of the same samples: 80 HTK mels, 25 ms windows in
512-point transforms, 10 ms hop, no pre-emphasis, no normalisation (the last row adds ours). They
take turns, so that a slow moment of the machine hits all; the best of the repeats counts. Without
--audio the files are 100 of 4 s, written to a temporary directory.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOAL_RATIO = 1.05
RATE_HZ = 16000
SUFFIXES = (".flac", ".mp3", ".ogg", ".sph", ".wav")
Contestant = Callable[[], object]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, help="directory of audio files, searched in depth")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the waveform")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-files", type=int, default=500)
    arguments = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(arguments.threads)  # read when the libraries load, below

    import torch

    torch.set_num_threads(arguments.threads)
    print(
        f"{arguments.seconds:g} s of audio, 80 mels, {arguments.threads} thread(s), "
        f"best of {arguments.repeats} in turns"
    )
    _bench_waveform(arguments.seconds, arguments.repeats)
    if arguments.audio is not None:
        _bench_files(arguments.audio, arguments.max_files)
        return
    with tempfile.TemporaryDirectory() as directory:
        _write_files(Path(directory))
        _bench_files(Path(directory), arguments.max_files)


def _bench_waveform(seconds: float, repeats: int) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(int(seconds * RATE_HZ))).astype(np.float32)
    makers = {
        "asr": _ours,
        "torchaudio MelSpectrogram + log": _torchaudio,
        "librosa melspectrogram + log": _librosa,
        "kaldi-native-fbank": _kaldi_native_fbank,
        "asr, pre-emphasis and normalisation": _ours_complete,
    }
    contestants: dict[str, Contestant] = {}
    missing = []
    for name, make in makers.items():
        try:
            contestants[name] = make(samples)
        except ImportError as error:
            missing.append(f"{name}: not measured, {error.name} is not installed")
    best_s = _best_in_turns(contestants, repeats)
    peers = {name: spent for name, spent in best_s.items() if not name.startswith("asr")}
    fastest = min(peers, key=lambda name: peers[name]) if peers else "asr"
    print(f"{'':38} {'ms':>8} {'x real time':>12} {'/ asr':>7}")
    for name, spent in best_s.items():
        ratio = spent / best_s["asr"]
        print(f"{name:38} {spent * 1e3:8.2f} {seconds / spent:12.0f} {ratio:7.2f}")
    for line in missing:
        print(line)
    ratio = best_s["asr"] / best_s[fastest]
    verdict = "reached" if ratio <= GOAL_RATIO else "MISSED"
    print(f"asr / fastest peer ({fastest}) = {ratio:.2f}; goal {GOAL_RATIO:g} {verdict}\n")


def _best_in_turns(contestants: dict[str, Contestant], repeats: int) -> dict[str, float]:
    best_s = dict.fromkeys(contestants, float("inf"))
    for repeat in range(repeats + 1):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            contestant()
            spent = time.perf_counter() - start
            if repeat > 0:  # the first round warms plans, kernels and caches
                best_s[name] = min(best_s[name], spent)
    return best_s


def _ours(samples: Any) -> Contestant:
    return _front_end(samples, preemphasis=0.0, normalization="none")


def _ours_complete(samples: Any) -> Contestant:
    return _front_end(samples)


def _front_end(samples: Any, **options: Any) -> Contestant:
    import torch

    from asr.features import LogMel, LogMelConfig

    front_end = LogMel(LogMelConfig.model_validate(options)).eval()
    batch, lengths = torch.from_numpy(samples)[None], torch.tensor([len(samples)])
    return lambda: front_end(batch, lengths)


def _torchaudio(samples: Any) -> Contestant:
    import torch
    from torchaudio.transforms import MelSpectrogram

    peer = MelSpectrogram(RATE_HZ, 512, 400, 160, f_min=20, n_mels=80, center=False)
    batch = torch.from_numpy(samples)[None]
    return lambda: peer(batch).clamp_(min=1e-8).log_()


def _librosa(samples: Any) -> Contestant:
    import librosa
    import numpy as np

    def run() -> object:
        energies = librosa.feature.melspectrogram(
            y=samples, sr=RATE_HZ, n_fft=512, win_length=400, hop_length=160, center=False,
            n_mels=80, fmin=20, htk=True, norm=None,
        )  # fmt: skip
        return np.log(np.maximum(energies, 1e-8, out=energies), out=energies)

    return run


def _kaldi_native_fbank(samples: Any) -> Contestant:
    import kaldi_native_fbank
    import numpy as np

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.preemph_coeff = 0
    options.frame_opts.remove_dc_offset = False
    options.frame_opts.window_type = "hanning"
    options.mel_opts.num_bins = 80

    def run() -> object:
        peer = kaldi_native_fbank.OnlineFbank(options)
        peer.accept_waveform(RATE_HZ, samples)
        peer.input_finished()
        return np.stack([peer.get_frame(frame) for frame in range(peer.num_frames_ready)])

    return run


def _write_files(directory: Path) -> None:
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    for index in range(100):
        samples = 0.1 * rng.standard_normal(4 * RATE_HZ)
        soundfile.write(directory / f"{index:03}.flac", samples, RATE_HZ)


def _bench_files(directory: Path, max_files: int) -> None:
    """Read every file plainly, then read and make features, in turns; print audio seconds."""
    import soundfile
    import torch

    from asr.audio import ReadOptions, probe_audio, read_audio
    from asr.features import LogMel, LogMelConfig

    found = (path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)
    paths = sorted(found)[:max_files]
    if not paths:
        raise SystemExit(f"error: no audio file below {directory}")
    audio_s = sum(probe_audio(path).duration_s for path in paths)
    front_end = LogMel(LogMelConfig()).eval()
    options = ReadOptions(sample_rate_hz=RATE_HZ)

    def read_plainly() -> None:
        for path in paths:
            soundfile.read(path, dtype="float32")

    def read_waveforms() -> None:
        for path in paths:
            read_audio(path, options)

    def read_to_features() -> None:
        for path in paths:
            samples = torch.from_numpy(read_audio(path, options).samples)[None]
            front_end(samples, torch.tensor([samples.shape[1]]))

    contestants: dict[str, Contestant] = {
        "soundfile.read alone": read_plainly,
        "asr.audio.read_audio": read_waveforms,
        "file to features": read_to_features,
    }
    best_s = _best_in_turns(contestants, repeats=3)
    kinds = ", ".join(sorted({path.suffix for path in paths}))
    print(f"{len(paths)} files ({kinds}), {audio_s:.0f} s of audio")
    print(f"{'':38} {'ms':>8} {'x real time':>12} {'/ plain':>7}")
    for name, spent in best_s.items():
        ratio = spent / best_s["soundfile.read alone"]
        print(f"{name:38} {spent * 1e3:8.0f} {audio_s / spent:12.0f} {ratio:7.2f}")


if __name__ == "__main__":
    main()
