"""The figures of an attack, and the bounds that they may not exceed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from rich.table import Table

from livecaption.evaluation.bystander import Timed
from livecaption.evaluation.latency import percentile


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of what an attack may do to the server and to its other clients.

    Attributes:
        pong_median_ms: median latency of pongs. People notice captions that are 100 ms later, which is five times this.
        hold_ms: longest time that a callback may hold the loop: a turn of 2 ms, and the step that exceeds it.
        collector_ms: longest run of the garbage collector. It scans all sessions and messages at once: 20 to 85 ms
            every few minutes.
        finals_growth, finals_slack_ms: the p95 of final latency may grow by a fifth, plus one batch of the scripted
            engine (0.1 s).
        rss_bytes: largest resident memory. The server process has 65 MB at rest, and memory that an attack occupies is
            not available to later sessions.
        ready_s: time until a new stream is ready. A publisher waits for one second without noticing.
        log_lines, log_lines_of_session: log lines that are allowed for an attack, and for each connection that it
            opens: started, refusal, ended.
    """

    pong_median_ms: float = 20.0
    hold_ms: float = 5.0
    collector_ms: float = 100.0
    finals_growth: float = 1.2
    finals_slack_ms: float = 100.0
    rss_bytes: int = 400_000_000
    ready_s: float = 1.0
    log_lines: int = 20
    log_lines_of_session: int = 3


BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Figures:
    """Latencies in ms; None if there was nothing to measure."""

    pong_median: float | None
    pong_p95: float | None
    pong_worst: float | None
    finals_p95: float | None

    @classmethod
    def of(cls, pongs_ms: Sequence[float], finals_ms: Sequence[float]) -> Self:
        pong_median, pong_p95, pong_worst = (percentile(pongs_ms, percent) for percent in (50, 95, 100))
        return cls(pong_median, pong_p95, pong_worst, percentile(finals_ms, 95))


def within(latencies: Sequence[Timed], spans: Sequence[Timed]) -> list[float]:
    """Return the latencies of what began in some spans of time (begin, end)."""
    return [ms for at_s, ms in latencies if any(begin_s <= at_s <= end_s for begin_s, end_s in spans)]


def delayed(finals: Sequence[Timed], attack: Timed) -> list[float]:
    """Return the latencies of the finals of a publisher that an attack (begin, end) may delay; none: one is missing.

    These are the finals of speech that ended during the attack, and the next one.
    """
    began_s, ended_s = attack
    later = [final for final in finals if final[0] >= began_s]
    n = sum(at_s <= ended_s for at_s, _ in later)
    return [ms for _, ms in later[: n + 1]] if n < len(later) else []


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one attack.

    Attributes:
        alone: latencies in all pauses before the attack.
        beside: latencies of pings and speech during the attack, and of the next final.
        hold_ms: longest time that a callback held the server's loop meanwhile, in CPU time.
        collector_ms: longest run of the garbage collector meanwhile.
        rss_before_bytes, rss_peak_bytes: resident memory of the server process.
        ready_s: longest time until a new stream was ready; None: one never was.
        n_log_lines: lines that the server logged meanwhile.
        n_sessions: sessions that the attack and the new streams have opened.
        lives: True if the server still runs.
        outcomes: counts of the answers to the attack, if it counts them.
        faults: descriptions of faults that the attack found.
    """

    attack: str
    alone: Figures
    beside: Figures
    hold_ms: float
    collector_ms: float
    rss_before_bytes: int
    rss_peak_bytes: int
    ready_s: float | None
    n_log_lines: int
    n_sessions: int
    lives: bool
    outcomes: Mapping[str, int]
    faults: tuple[str, ...]


def broken_bounds(row: Row, bounds: Bounds = BOUNDS) -> list[str]:
    """Describe all bounds that are exceeded."""
    broken = list(row.faults)
    if not row.lives:
        broken.append("the server has ended")
    if row.beside.pong_median is None or row.beside.pong_median > bounds.pong_median_ms:
        broken.append(f"pong median {_ms(row.beside.pong_median)} ms")
    limit_ms = bounds.finals_growth * (row.alone.finals_p95 or 0.0) + bounds.finals_slack_ms
    if row.beside.finals_p95 is None:
        broken.append("speech without a final")
    elif row.beside.finals_p95 > limit_ms:
        broken.append(f"finals p95 {_ms(row.beside.finals_p95)} ms, above {limit_ms:.0f}")
    if row.hold_ms > bounds.hold_ms:
        broken.append(f"the loop was held for {row.hold_ms:.1f} ms")
    if row.collector_ms > bounds.collector_ms:
        broken.append(f"the garbage collector took {row.collector_ms:.0f} ms")
    if row.rss_peak_bytes > bounds.rss_bytes:
        broken.append(f"{row.rss_peak_bytes / 1e6:.0f} MB")
    if row.ready_s is None or row.ready_s > bounds.ready_s:
        broken.append("a new stream was never ready" if row.ready_s is None else f"ready after {row.ready_s:.1f} s")
    if row.n_log_lines > bounds.log_lines + bounds.log_lines_of_session * row.n_sessions:
        broken.append(f"{row.n_log_lines} lines in the log")
    return broken


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def table(rows: Sequence[Row], bounds: Bounds = BOUNDS) -> Table:
    """Make a table of the rows."""
    shown = Table("attack", title="pong: median, p95, worst; alone and beside the attack")
    for heading in (
        *("pong ms", "beside", "finals p95", "beside", "hold ms", "collector"),
        *("ready s", "MB", "peak", "lines", "streams", "broken"),
    ):
        shown.add_column(heading, justify="right")
    for row in rows:
        cells = []
        for figures in (row.alone, row.beside):
            cells.append(" ".join(map(_ms, (figures.pong_median, figures.pong_p95, figures.pong_worst))))
        shown.add_row(
            row.attack,
            *cells,
            _ms(row.alone.finals_p95),
            _ms(row.beside.finals_p95),
            _ms(row.hold_ms),
            _ms(row.collector_ms),
            "-" if row.ready_s is None else f"{row.ready_s:.2f}",
            f"{row.rss_before_bytes / 1e6:.0f}",
            f"{row.rss_peak_bytes / 1e6:.0f}",
            str(row.n_log_lines),
            str(row.n_sessions),
            str(len(broken_bounds(row, bounds)) or ""),
        )
    return shown
