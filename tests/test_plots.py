"""Pictures: what is drawn, what is refused, and that files appear whole."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from asr import plots
from asr.cli import app
from asr.errors import DataError, MissingExtraError
from asr.plots import plot_alignment, plot_run, plot_surface, read_metrics, smooth

PNG = b"\x89PNG\r\n\x1a\n"


def train_line(step: int, **values: Any) -> dict[str, Any]:
    line = {"step": step, "epoch": step // 100, "time_s": 0.3 * step, "train_loss": 90.0 / step}
    return line | {"learning_rate": 1e-3, "audio_s_per_s": 250.0, "data_wait": 0.02} | values


def dev_line(step: int, wer: float) -> dict[str, Any]:
    line = {"step": step, "epoch": step // 100, "time_s": 0.3 * step, "dev_loss": 100.0 / step}
    return line | {"dev_wer": wer, "dev_errors": 1000 * wer, "dev_words": 1000}


RECORDS = [
    *(train_line(step) for step in range(10, 310, 10)),
    dev_line(100, 0.9),
    dev_line(200, 0.25),
    dev_line(300, 0.31),
]


def write_run(run_dir: Path, records: list[dict[str, Any]], tail: str = "") -> Path:
    run_dir.mkdir(exist_ok=True)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (run_dir / "metrics.jsonl").write_text(text + tail, encoding="utf-8")
    return run_dir


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that are saved, to look into; they are saved all the same."""
    figures: list[Figure] = []
    save = plots._save

    def spy(figure: Figure, path: Path) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(plots, "_save", spy)
    yield figures


def legend_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_three_panels_of_a_run(tmp_path: Path, drawn: list[Figure]) -> None:
    run_dir = write_run(tmp_path / "my_run", RECORDS)
    before = dict(mpl.rcParams)
    written = plot_run(run_dir)
    assert written == run_dir / "curves.png"
    assert written.read_bytes().startswith(PNG)
    assert dict(mpl.rcParams) == before, "global settings are left alone"
    assert sorted(path.name for path in run_dir.iterdir()) == ["curves.png", "metrics.jsonl"]

    loss, wer, rate = drawn[0].axes
    train, dev = loss.get_lines()
    assert train.get_xdata().tolist() == list(range(10, 310, 10))
    assert train.get_ydata().tolist() == pytest.approx([90 / step for step in range(10, 310, 10)])
    assert dev.get_xydata().tolist() == pytest.approx(
        np.array([[100, 1.0], [200, 0.5], [300, 1 / 3]])
    )
    assert legend_of(loss) == ["training", "development"]
    assert wer.get_lines()[0].get_ydata().tolist() == pytest.approx([90, 25, 31])
    assert legend_of(wer) == ["development", "best 25.00 % at step 200"]
    assert rate.get_lines()[0].get_ydata().tolist() == [1e-3] * 30
    assert [axes.get_ylabel() for axes in drawn[0].axes] == [
        "loss, nats a token",
        "word error rate, %",
        "learning rate",
    ]
    title = drawn[0].get_suptitle()
    assert title == "my_run: 300 steps, epoch 4, 1.5 min, 250 s of audio per second"


def test_the_picture_holds_ink_in_every_panel(tmp_path: Path) -> None:
    from matplotlib import image

    written = plot_run(write_run(tmp_path / "run", RECORDS), tmp_path / "deep" / "er" / "x.png")
    assert written == tmp_path / "deep" / "er" / "x.png"
    pixels = image.imread(written)[..., :3]
    height, width = pixels.shape[:2]
    assert (height, width) == (1275, 1200)
    for top, bottom in ((0.04, 0.36), (0.42, 0.72), (0.775, 0.93)):
        panel = pixels[int(top * height) : int(bottom * height), int(0.15 * width) :]
        colourful = np.ptp(panel, axis=2) > 0.2
        dark = panel.max(axis=2) < 0.5
        assert (colourful | dark).mean() > 1e-3


def test_a_long_run_is_smoothed(tmp_path: Path, drawn: list[Figure]) -> None:
    records = [train_line(step, train_loss=2.0 + step % 2) for step in range(1, 401)]
    plot_run(write_run(tmp_path / "run", records))
    raw, mean = drawn[0].axes[0].get_lines()
    assert legend_of(drawn[0].axes[0]) == ["training, mean of 10"]
    assert set(raw.get_ydata()) == {2.0, 3.0}
    assert mean.get_ydata()[10:-10] == pytest.approx([2.5] * 380)


def test_smooth_by_hand() -> None:
    values = np.array([1.0, 2.0, 6.0, math.nan, 4.0])
    assert smooth(values, 1).tolist() == pytest.approx(values.tolist(), nan_ok=True)
    assert smooth(values, 3).tolist() == pytest.approx([1.5, 3.0, 4.0, 5.0, 4.0])
    assert smooth(values, 2).tolist() == pytest.approx([1.0, 1.5, 4.0, 6.0, 4.0])
    assert np.isnan(smooth(np.array([math.nan, math.nan]), 2)).all()


@pytest.mark.parametrize(
    ("wers", "scale"),
    [([0.9, 0.3, 0.05], "log"), ([0.9, 0.3, 0.0], "linear"), ([0.9, 0.3], "linear")],
)
def test_wide_ranges_get_a_logarithmic_axis(
    tmp_path: Path, drawn: list[Figure], wers: list[float], scale: str
) -> None:
    records = [dev_line(100 * number, wer) for number, wer in enumerate(wers, 1)]
    plot_run(write_run(tmp_path / "run", records))
    axes = drawn[0].axes[1]
    assert axes.get_yscale() == scale
    if scale == "log":
        labels = {text.get_text() for text in axes.get_yticklabels()}
        assert {"5", "10", "20", "50", "100"} <= labels
    else:
        assert axes.get_ylim()[0] == 0


@pytest.mark.parametrize(
    "records",
    [
        [train_line(10)],
        [dev_line(10, 1.0)],
        [{"step": 1, "learning_rate": 0.0}],
        [train_line(10, train_loss=math.nan), train_line(20, train_loss=math.inf)],
        [dev_line(10, math.nan)],
        [train_line(10), {"step": 10, "blank_collapse": 10}],
    ],
    ids=["train only", "dev only", "rate only", "not finite", "wer not finite", "another key"],
)
def test_runs_that_have_hardly_begun(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    assert plot_run(write_run(tmp_path / "run", records)).read_bytes().startswith(PNG)


def test_what_is_not_finite_is_a_gap(tmp_path: Path, drawn: list[Figure]) -> None:
    records = [dev_line(step, 0.5) | {"dev_loss": loss} for step, loss in ((1, math.inf), (2, 3))]
    plot_run(write_run(tmp_path / "run", records))
    line = drawn[0].axes[0].get_lines()[0]
    assert line.get_ydata().tolist() == pytest.approx([math.nan, 3.0], nan_ok=True)


def test_a_name_with_dollars_is_no_formula(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_run(write_run(tmp_path / "$run_{$", RECORDS))
    assert drawn[0].get_suptitle().startswith("$run_{$: ")


def test_a_long_name_is_cut(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_run(write_run(tmp_path / ("r" * 100), RECORDS))
    assert drawn[0].get_suptitle().startswith("r" * 39 + "…: ")


@pytest.mark.parametrize("tail", ['{"step": 310, "train_l', '{"step": 310, "train_loss": 1.0}'])
def test_the_torn_last_line_of_a_live_run_is_left_out_and_said(
    tmp_path: Path, tail: str, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = write_run(tmp_path / "run", RECORDS, tail)
    with caplog.at_level(logging.WARNING):
        records = read_metrics(run_dir / "metrics.jsonl")
    assert [record["step"] for record in records] == sorted(r["step"] for r in RECORDS)
    assert [record.getMessage() for record in caplog.records] == [
        f"{run_dir / 'metrics.jsonl'}: the last line is incomplete and left out"
    ]
    caplog.clear()
    read_metrics(write_run(run_dir, RECORDS) / "metrics.jsonl")
    assert not caplog.records


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 20, ', "line 2 of .*metrics.jsonl is not JSON"),
        ("[1, 2]", r"line 2 .* must be a JSON object, got \[1, 2\]"),
        ('{"train_loss": 1.0}', "line 2 .* `step` must be a whole number, got null"),
        ('{"step": 1.5}', "line 2 .* `step` must be a whole number, got 1.5"),
        ('{"step": true}', "line 2 .* `step` must be a whole number, got true"),
        ('{"step": 2, "dev_wer": "0.3"}', 'line 2 .* `dev_wer` must be a number, got "0.3"'),
        ('{"step": 2, "epoch": null}', "line 2 .* `epoch` must be a number, got null"),
        (f'{{"step": 1{"0" * 400}}}', r"line 2 .* whole number, got 1000*\.\.\."),
        (f'{{"step": 2, "dev_loss": 1{"0" * 400}}}', r"line 2 .* a number, got 1000*\.\.\."),
        (f'{{"step": 1{"0" * 5000}}}', "line 2 of .*metrics.jsonl is not JSON"),
        ("[" * 100_000, "line 2 of .*metrics.jsonl is not JSON"),
        ('{"step": 2, "train_loss": true}', "line 2 .* `train_loss` must be a number, got true"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    tail = f"{line}\n{json.dumps(train_line(30))}\n"
    run_dir = write_run(tmp_path / "run", [train_line(10)], tail)
    with pytest.raises(DataError, match=message):
        plot_run(run_dir)
    assert not (run_dir / "curves.png").exists()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*metrics.jsonl: No such file") as error:
        plot_run(tmp_path / "nowhere")
    assert error.value.hint == "give the run directory of `asr train`"
    with pytest.raises(DataError, match="holds nothing to plot yet"):
        plot_run(write_run(tmp_path / "run", []))
    with pytest.raises(DataError, match="holds nothing to plot yet"):
        plot_run(write_run(tmp_path / "run", [{"step": 3, "epoch": 0}]))
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        plot_run(tmp_path / "run")


def test_an_unwritable_picture_is_said(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", RECORDS)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        plot_run(run_dir, tmp_path / "file" / "x.png")


@pytest.mark.parametrize("name", ["metrics.jsonl", "model.safetensors", "new.pdf", "new"])
def test_nothing_but_a_picture_is_overwritten(tmp_path: Path, name: str) -> None:
    run_dir = write_run(tmp_path / "run", RECORDS)
    (run_dir / "model.safetensors").write_text("weights")
    before = {path: path.read_bytes() for path in run_dir.iterdir()}
    with pytest.raises(DataError) as caught:
        plot_run(run_dir, run_dir / name)
    assert caught.value.message == f"{run_dir / name} would be a picture, PNG"
    assert caught.value.hint == "name it .png"
    assert {path: path.read_bytes() for path in run_dir.iterdir()} == before
    assert plot_run(run_dir, run_dir / "LARGE.PNG").is_file()


def test_a_failed_drawing_leaves_the_old_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = write_run(tmp_path / "run", RECORDS)
    (run_dir / "curves.png").write_bytes(b"old")

    def fail(self: Figure, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(DataError, match="No space left on device"):
        plot_run(run_dir)
    assert (run_dir / "curves.png").read_bytes() == b"old"
    assert sorted(path.name for path in run_dir.iterdir()) == ["curves.png", "metrics.jsonl"]


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run_dir = write_run(tmp_path / "run", RECORDS)
    with pytest.raises(MissingExtraError, match=r'plotting needs .*pip install "asr\[train\]"'):
        plot_run(run_dir)


def test_importing_loads_neither_matplotlib_nor_torch() -> None:
    code = "import sys, asr.plots; print([n for n in ('matplotlib', 'torch') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("out", [None, "mine.png"])
def test_command(tmp_path: Path, out: str | None) -> None:
    run_dir = write_run(tmp_path / "run", RECORDS)
    target = run_dir / "curves.png" if out is None else tmp_path / out
    arguments = [] if out is None else ["--out", str(target)]
    result = CliRunner().invoke(app, ["plot", str(run_dir), *arguments])
    assert result.exit_code == 0
    assert result.stdout.strip() == str(target)
    assert target.read_bytes().startswith(PNG)


RATE_HZ = 8000
WORDS = [("seven", 0.1, 0.4), ("three", 0.45, 0.8), ("oh", 0.8, 0.9)]


def utterance(duration_s: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    samples = draw.uniform(-0.5, 0.5, round(duration_s * RATE_HZ)).astype(np.float32)
    return samples, draw.standard_normal((round(100 * duration_s) - 2, 40)).astype(np.float32)


def test_words_stand_where_they_were_said(tmp_path: Path, drawn: list[Figure]) -> None:
    samples, features = utterance()
    path = tmp_path / "aligned.png"
    plot_alignment(samples, RATE_HZ, features, WORDS, path)
    assert path.read_bytes().startswith(PNG)
    wave, mels = drawn[0].axes
    assert [label.get_text() for label in wave.texts] == ["seven", "three", "oh"]
    assert [label.xy[0] for label in wave.texts] == pytest.approx([0.25, 0.625, 0.85])
    edges = [line.get_xdata()[0] for line in mels.get_lines()]
    assert edges == pytest.approx([0.1, 0.4, 0.45, 0.8, 0.8, 0.9])
    spans = [patch.get_x() for patch in wave.patches]
    assert spans == pytest.approx([0.1, 0.45, 0.8])
    shown = mels.get_images()[0]
    assert shown.get_extent() == pytest.approx([0, 0.98, 0, 40])
    assert np.array_equal(np.asarray(shown.get_array()), features.T)
    assert mels.get_xlim() == pytest.approx((0, 1))
    envelope = wave.collections[0].get_paths()[0].vertices
    assert shown.origin == "lower"
    assert envelope[:, 0].max() == pytest.approx(1.0, abs=1e-3)
    assert envelope[:, 1].max() == pytest.approx(samples.max())
    assert envelope[:, 1].min() == pytest.approx(samples.min())


def test_crowded_words_are_stacked_and_never_meet(tmp_path: Path, drawn: list[Figure]) -> None:
    samples, features = utterance()
    words = [(f"longword{n}", 0.1 * n, 0.1 * n + 0.08) for n in range(9)]
    plot_alignment(samples, RATE_HZ, features, words, tmp_path / "crowd.png")
    figure = drawn[0]
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].texts]
    assert len({round(box.y0) for box in boxes}) > 1
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_any_text_and_hop(tmp_path: Path, drawn: list[Figure]) -> None:
    samples, features = utterance()
    words = [("$x_{$", 0.0, 0.5), ("ğüßé", 0.5, 0.5)]
    plot_alignment(samples, RATE_HZ, features[::2], words, tmp_path / "x.png", hop_s=0.02)
    assert drawn[0].axes[1].get_images()[0].get_extent()[1] == pytest.approx(0.98)


def test_silence_no_words_and_a_long_recording(tmp_path: Path, drawn: list[Figure]) -> None:
    samples, features = utterance(300.0)
    plot_alignment(0 * samples, RATE_HZ, 0 * features, [], tmp_path / "silence.png")
    assert drawn[0].get_figwidth() == 40
    columns = drawn[0].axes[0].collections[0].get_paths()[0].vertices
    assert len(columns) < 3 * plots.ENVELOPE_COLUMNS
    plot_alignment(samples[:1], RATE_HZ, features[:1], [], tmp_path / "instant.png")


@pytest.mark.parametrize(
    ("samples", "features", "words", "message"),
    [
        (np.zeros((2, 9)), np.zeros((4, 3)), [], r"samples must be .* got shape \(2, 9\)"),
        (np.zeros(0), np.zeros((4, 3)), [], r"samples must be .* got shape \(0,\)"),
        (np.zeros(9), np.zeros(4), [], r"features must be .* got shape \(4,\)"),
        (np.zeros(9), np.zeros((0, 3)), [], r"features must be .* got shape \(0, 3\)"),
        (np.zeros(9), np.zeros((4, 3)), [("a", 0.3, 0.2)], "word 'a' must have .* 0.3, 0.2"),
        (np.zeros(9), np.zeros((4, 3)), [("a", -0.1, 0.2)], "word 'a' must have"),
        (np.zeros(9), np.zeros((4, 3)), [("a", 0.0, math.nan)], "word 'a' must have"),
        (np.zeros(9), np.zeros((4, 3)), [("a", 0.0, math.inf)], "word 'a' must have"),
    ],
)
def test_wrong_utterances_are_refused(
    tmp_path: Path,
    samples: np.ndarray,
    features: np.ndarray,
    words: list[tuple[str, float, float]],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        plot_alignment(samples, RATE_HZ, features, words, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_a_tuning_surface_is_drawn(tmp_path: Path) -> None:
    wers = np.array([[0.3, 0.2], [0.1, 0.9], [0.2, 0.2]])
    plot_surface(wers, (0.0, 0.5, 1.0), (0.0, 1.0), (0.5, 0.0), tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    plot_surface(np.zeros((1, 1)), (0.0,), (1.0,), (0.0, 1.0), tmp_path / "flat.png")
    other = wers.copy()
    other[0, 0] = 0.1
    plot_surface(other, (0.0, 0.5, 1.0), (0.0, 1.0), (0.5, 0.0), tmp_path / "o.png")
    assert (tmp_path / "o.png").read_bytes() != (tmp_path / "s.png").read_bytes()


def test_a_surface_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got shape \(2, 3\) for 3 weights and 2 bonuses"):
        plot_surface(np.zeros((2, 3)), (0.0, 0.5, 1.0), (0.0, 1.0), (0.5, 0.0), tmp_path / "s.png")
