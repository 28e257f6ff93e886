"""Pictures as PNG files: curves of a run, an utterance with its words, a tuning surface."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.errors import DataError, require_extra
from asr.files import atomic_path, check_output
from asr.jsonl import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
CURVES_FILE = "curves.png"
PICTURE_SUFFIX = ".png"
PLOTTED = ("train_loss", "dev_loss", "dev_wer", "learning_rate")

TRAIN_COLOUR, DEV_COLOUR, RATE_COLOUR = "#1f6f8b", "#d1495b", "#5b5b5b"
WORD_COLOURS = ("#1f6f8b", "#edae49")
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "legend.frameon": False,
}
DOTS_PER_INCH = 150
MAX_NAME = 40  # characters of a run directory in the title; a longer name is cut
# A longer waveform is drawn as its envelope: nobody sees more columns than pixels.
ENVELOPE_COLUMNS = 4000
CHARACTER_INCHES = 0.105  # width of a character at 10 points, gap included


def plot_run(run_dir: Path, out: Path | None = None) -> Path:
    """Draw loss, word error rate and learning rate over the steps of a run.

    Args:
        run_dir: Holds `metrics.jsonl`: JSON objects with a `step` and any of `train_loss`,
            `dev_loss`, `dev_wer` (a fraction), `learning_rate`, `epoch`, `time_s`,
            `audio_s_per_s`. The run may still go on.
        out: PNG to write; None for `curves.png` in `run_dir`.

    Returns:
        The file written.

    Raises:
        DataError: No metrics, a line that is none (named by its number), or `out` unwritable or
            not named .png.
        MissingExtraError: matplotlib is not installed.
    """
    out = run_dir / CURVES_FILE if out is None else out
    check_picture(out)
    records = read_metrics(run_dir / METRICS_FILE)
    if not any(name in record for record in records for name in PLOTTED):
        raise DataError(
            f"{run_dir / METRICS_FILE} holds nothing to plot yet",
            hint="the first line comes after `training.log_every` steps",
        )
    with require_extra("train", "plotting"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 8.5), layout="constrained")
        loss, wer, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.5))
        _draw_loss(loss, records)
        _draw_wer(wer, records)
        _draw_rate(rate, records)
        figure.suptitle(_run_title(run_dir, records), parse_math=False, fontsize=11)
        _save(figure, out)
    return out


def check_picture(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Refuse a picture before the work for it is done.

    Raises:
        DataError: As of `asr.files.check_output`; or the name does not end in .png, which would
            mislead, or be that of a model.
    """
    check_output(path, inputs)
    if path.suffix.lower() != PICTURE_SUFFIX:
        raise DataError(f"{path} would be a picture, PNG", hint=f"name it {PICTURE_SUFFIX}")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Records of a metrics file, by step.

    A last line without its newline is a run's that is being written to, or was killed: it is left
    out, and the log says so.

    Raises:
        DataError: The file is missing, or a line is not a JSON object of a step and numbers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "give the run directory of `asr train`"
        raise DataError(f"cannot read {path}: {reason}", hint=hint) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from None
    lines = text.split("\n")
    torn = lines.pop()  # what follows the last newline: nothing, in a whole file
    records = [
        _parse_line(path, number, line) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if torn.strip():
        log.warning("%s: the last line is incomplete and left out", path)
    return sorted(records, key=lambda record: record["step"])


def _parse_line(path: Path, number: int, line: str) -> dict[str, Any]:
    where = f"line {number} of {path}"
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:  # a number too long, and nested too deeply
        raise DataError(f"{where} is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise DataError(f"{where} must be a JSON object, got {line.strip()[:60]}")
    step = record.get("step")
    if type(step) is not int or not _is_number(step):
        raise DataError(f"{where}: `step` must be a whole number, got {shown(step)}")
    for name in (*PLOTTED, "epoch", "time_s", "audio_s_per_s"):
        value = record.get(name, 0)
        if not _is_number(value):
            raise DataError(f"{where}: `{name}` must be a number, got {shown(value)}")
    return record


def _is_number(value: Any) -> bool:
    """Whether it is one that a float can be, NaN and infinity too."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= sys.float_info.max
    return isinstance(value, float)


def _series(records: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one metric; NaN and infinity leave a gap."""
    found = [(record["step"], float(record[name])) for record in records if name in record]
    steps, values = np.array(found, dtype=float).reshape(-1, 2).T
    return steps, np.where(np.isfinite(values), values, np.nan)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Centred running mean over `width` values (fewer at the ends); NaN is left out.

    >>> smooth(np.array([1.0, 2.0, 6.0]), 3).tolist()
    [1.5, 3.0, 4.0]
    """
    kernel = np.ones(width)
    known = np.isfinite(values)
    padded = (np.pad(part, (width // 2, width - 1 - width // 2)) for part in (values, known))
    numbers, weights = (np.nan_to_num(part.astype(float)) for part in padded)
    count = np.convolve(weights, kernel, "valid")
    total = np.convolve(numbers, kernel, "valid")
    mean = np.full(len(values), np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _draw_loss(axes: Axes, records: Sequence[dict[str, Any]]) -> None:
    steps, values = _series(records, "train_loss")
    width = max(1, len(values) // 40)
    if width > 1:
        axes.plot(steps, values, color=TRAIN_COLOUR, alpha=0.25, linewidth=0.8)
    if len(values):
        label = "training" if width == 1 else f"training, mean of {width}"
        axes.plot(steps, smooth(values, width), color=TRAIN_COLOUR, label=label)
    steps, values = _series(records, "dev_loss")
    if len(values):
        axes.plot(steps, values, color=DEV_COLOUR, marker="o", markersize=3, label="development")
    axes.set_ylabel("loss, nats a token")
    _log_scale(axes)
    if axes.lines:
        axes.legend(loc="upper right")


def _draw_wer(axes: Axes, records: Sequence[dict[str, Any]]) -> None:
    steps, values = _series(records, "dev_wer")
    axes.set_ylabel("word error rate, %")
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "no validation yet", transform=axes.transAxes, ha="center")
        return
    percent = 100 * values
    best = int(np.nanargmin(percent))
    axes.plot(steps, percent, color=DEV_COLOUR, marker="o", markersize=3, label="development")
    axes.plot(steps[best], percent[best], "o", color=DEV_COLOUR, markersize=8, mfc="none", mew=1.5)
    axes.plot([], [], " ", label=f"best {percent[best]:.2f} % at step {steps[best]:,.0f}")
    axes.legend(loc="upper right")
    _log_scale(axes)
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)


def _draw_rate(axes: Axes, records: Sequence[dict[str, Any]]) -> None:
    steps, values = _series(records, "learning_rate")
    axes.plot(steps, values, color=RATE_COLOUR)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning rate")
    axes.set_xlabel("step")


def _log_scale(axes: Axes) -> None:
    """A logarithmic axis with plain numbers where values span a factor of ten, and none is 0."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    parts = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    values = np.concatenate([part[np.isfinite(part)] for part in parts]) if parts else np.empty(0)
    if not len(values) or values.min() <= 0 or values.max() < 10 * values.min():
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _run_title(run_dir: Path, records: Sequence[dict[str, Any]]) -> str:
    last = {name: value for record in records for name, value in record.items()}
    parts = [f"{last['step']:,} steps"]
    if "epoch" in last:
        parts.append(f"epoch {last['epoch'] + 1}")
    if math.isfinite(seconds := last.get("time_s", math.nan)):
        parts.append(f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s")
    _, speeds = _series(records, "audio_s_per_s")
    if np.isfinite(speeds).any():
        parts.append(f"{np.nanmedian(speeds):,.0f} s of audio per second")
    name = run_dir.resolve().name.encode(errors="replace").decode()  # no UTF-8, no glyphs
    shown = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
    return f"{shown}: " + ", ".join(parts)


def plot_alignment(
    samples: np.ndarray,
    sample_rate_hz: int,
    features: np.ndarray,
    words: Sequence[tuple[str, float, float]],
    path: Path,
    hop_s: float = 0.01,
) -> None:
    """Draw an utterance: waveform and log-mel spectrogram with its words.

    Args:
        samples: (num_samples,) float in [-1, 1].
        sample_rate_hz: Samples per second.
        features: (num_frames, num_mels) log-mel energies.
        words: (text, start_s, end_s) in order of time.
        path: PNG to write.
        hop_s: Seconds between frames.

    Raises:
        DataError: A shape does not fit, a word ends before it starts, or `path` is unwritable.
        MissingExtraError: matplotlib is not installed.
    """
    _check_alignment(samples, features, words)
    with require_extra("train", "plotting"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    duration_s = max(len(samples) / sample_rate_hz, len(features) * hop_s)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        width = min(max(8.0, 2.2 * duration_s), 40.0)
        figure = Figure(figsize=(width, 4.2), layout="constrained")
        wave, mels = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.6))
        _draw_wave(wave, samples, sample_rate_hz)
        _draw_words(wave, words, inches_per_s=0.9 * width / duration_s)
        _draw_mels(mels, features, hop_s)
        for number, (_, start_s, end_s) in enumerate(words):
            colour = WORD_COLOURS[number % 2]
            wave.axvspan(start_s, end_s, color=colour, alpha=0.18, linewidth=0)
            for edge in (start_s, end_s):
                mels.axvline(edge, color="white", linewidth=0.9, linestyle=(0, (4, 2)))
        mels.set_xlim(0, duration_s)
        _save(figure, path)


def _check_alignment(
    samples: np.ndarray, features: np.ndarray, words: Sequence[tuple[str, float, float]]
) -> None:
    if samples.ndim != 1 or not len(samples):
        raise DataError(f"samples must be (num_samples,), got shape {samples.shape}")
    if features.ndim != 2 or not features.size:
        raise DataError(f"features must be (num_frames, num_mels), got shape {features.shape}")
    for text, start_s, end_s in words:
        if not 0 <= start_s <= end_s < math.inf:
            raise DataError(f"word {text!r} must have 0 <= start <= end, got {start_s}, {end_s}")


def _draw_wave(axes: Axes, samples: np.ndarray, sample_rate_hz: int) -> None:
    columns = min(len(samples), ENVELOPE_COLUMNS)
    starts = np.arange(columns) * len(samples) // columns
    times = starts / sample_rate_hz
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    axes.fill_between(times, low, high, color="#333333", linewidth=0.4, edgecolor="#333333")
    peak = max(float(np.abs(samples).max()), 1e-3)
    axes.set_ylim(-1.1 * peak, 1.1 * peak)
    axes.set_ylabel("amplitude")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _draw_words(axes: Axes, words: Sequence[tuple[str, float, float]], inches_per_s: float) -> None:
    """Labels above the waveform, each in the lowest row where it meets no other."""
    row_ends: list[float] = []
    for number, (text, start_s, end_s) in enumerate(words):
        half = len(text) * CHARACTER_INCHES / inches_per_s / 2
        middle = (start_s + end_s) / 2
        free = (row for row, end in enumerate(row_ends) if end <= middle - half)
        row = next(free, len(row_ends))
        row_ends[row : row + 1] = [middle + half]
        axes.annotate(
            text,
            (middle, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3 + 15 * row),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontweight="bold",
            color=("#14495c", "#8a5a00")[number % 2],
            parse_math=False,
        )


def _draw_mels(axes: Axes, features: np.ndarray, hop_s: float) -> None:
    num_frames, num_mels = features.shape
    low, high = np.percentile(features, (3, 99.7))
    axes.imshow(
        features.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=high,
        extent=(0, num_frames * hop_s, 0, num_mels),
        interpolation="nearest",
    )
    axes.set_ylabel("mel band")
    axes.set_xlabel("time, s")


def plot_surface(
    wers: np.ndarray,
    lm_weights: Sequence[float],
    word_bonuses: Sequence[float],
    chosen: tuple[float, float],
    path: Path,
) -> None:
    """Draw word error rates over language model weight and word bonus, the chosen ones marked.

    Args:
        wers: (num_weights, num_bonuses) fractions.
        lm_weights: (num_weights,) rising.
        word_bonuses: (num_bonuses,) rising.
        chosen: Weight and bonus, of those.
        path: PNG to write.

    Raises:
        DataError: Shapes do not fit, or `path` is unwritable.
        MissingExtraError: matplotlib is not installed.
    """
    if wers.shape != (len(lm_weights), len(word_bonuses)):
        raise DataError(
            f"wers must be (num_weights, num_bonuses), got shape {wers.shape} "
            f"for {len(lm_weights)} weights and {len(word_bonuses)} bonuses"
        )
    with require_extra("train", "plotting"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    percent = 100 * np.asarray(wers, dtype=float)
    # Twice the lowest rate is off the scale: what matters is where the valley is.
    low = float(np.nanmin(percent))
    high = min(float(np.nanmax(percent)), max(2 * low, low + 1))
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(8, 5.5), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(
            percent.T, origin="lower", aspect="auto", cmap="viridis_r", vmin=low, vmax=high
        )
        for (row, column), value in np.ndenumerate(percent):
            dark = value > (low + high) / 2
            axes.text(
                row,
                column,
                f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
            )
        axes.set_xticks(range(len(lm_weights)), [f"{weight:g}" for weight in lm_weights])
        axes.set_yticks(range(len(word_bonuses)), [f"{bonus:g}" for bonus in word_bonuses])
        place = (list(lm_weights).index(chosen[0]), list(word_bonuses).index(chosen[1]))
        axes.plot(*place, "s", color=DEV_COLOUR, markersize=26, mfc="none", mew=2.5)
        axes.set_xlabel("language model weight")
        axes.set_ylabel("word bonus")
        axes.set_title("development word error rate, %; the square is what was taken", fontsize=11)
        figure.colorbar(image, extend="max" if percent.max() > high else "neither")
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)
