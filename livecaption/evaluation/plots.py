"""Plot the figures of a sweep: latencies, accuracy and cost by number of streams."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

LATENCIES = {
    "word_shown_ms": "Word shown after it was spoken",
    "word_committed_ms": "Word committed after it was spoken",
    "final_ms": "Final after the end of speech",
}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the plot in the format of the file's suffix, such as .png or .svg.

    Args:
        rows: the figures of `livecaption bench`, one mapping for each number of streams.

    Raises:
        OSError: the file cannot be written.
        ValueError: the format is unknown.
    """
    # pyplot is not used, because it would look for a display.
    figure = Figure(figsize=(12, 7), layout="constrained")
    panels = figure.subplots(2, 3)
    streams = [row["streams"] for row in rows]
    for axes, (key, title) in zip(panels[0], LATENCIES.items(), strict=True):
        _panel(
            axes,
            title,
            "s",
            streams,
            {rank: [_scaled(row[key][rank], 1e-3) for row in rows] for rank in ("p50", "p95")},
        )
    _panel(panels[1][0], "Word error rate", "%", streams, {"WER": [_scaled(row["wer"], 100) for row in rows]})
    _panel(
        panels[1][1],
        "Computing time",
        "s per s of audio",
        streams,
        {
            "transcribed (RTF)": [row["rtf"] for row in rows],
            "streamed": [row["compute_per_audio"] for row in rows],
        },
    )
    _panel(
        panels[1][2],
        "CPU",
        "% of one core",
        streams,
        {part: [row[f"{part}_cpu_percent"] for row in rows] for part in ("server", "inference")},
    )
    figure.savefig(path, dpi=120)


def _panel(
    axes: Axes, title: str, unit: str, streams: Sequence[int], lines: Mapping[str, Sequence[float | None]]
) -> None:
    for label, values in lines.items():
        # NaN leaves a gap in the line.
        axes.plot(streams, [float("nan") if value is None else value for value in values], marker="o", label=label)
    axes.set(title=title, xlabel="streams", ylabel=unit, xticks=streams)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend()


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
