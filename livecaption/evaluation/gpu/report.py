"""Summarize what the steps of a measurement on a GPU found, as Markdown for docs/measuring.md. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from livecaption.evaluation.measurement import spread
from livecaption.evaluation.wer import WordErrors

Finding = Mapping[str, Any]

LATE_MS = 1500.0
"""p95 of finals after the end of speech, in ms, above which a server has too many streams."""

FIGURES_OF_SERVER = (
    *("mean_batch_size", "rtf", "server_cpu_percent", "inference_cpu_percent"),
    *("server_memory_bytes", "inference_memory_bytes"),
)
LONGEST_VALUE = 300


def pooled(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of all client processes of `livecaption bench` that streamed to one server."""
    plays = [play for row in rows for play in row["plays"]]
    errors = sum((WordErrors(**play["word_errors"]) for play in plays if play["word_errors"]), WordErrors())
    return {
        "streams": sum(row["streams"] for row in rows),
        "refused": sum(row["refused"] for row in rows),
        "failed": sum(row["failed"] for row in rows),
        "failures": sorted({failure for row in rows for failure in row["failures"]}),
        "clips": len(plays),
        "wer": errors.rate,
        "word_shown_ms": spread(latency for play in plays for latency in play["words_shown_ms"]),
        "final_ms": spread(latency for play in plays for latency in play["final_latencies_ms"]),
        # Each client looks at the whole server.
        **{name: rows[0][name] for name in FIGURES_OF_SERVER},
        "client_lag_p99_ms": max(row["client_lag_ms"]["p99"] or 0.0 for row in rows),
    }


def is_too_late(row: Finding) -> bool:
    """Return True if more streams need not be tried: finals come late or never, or streams fail."""
    return bool(row["failed"] or row["final_ms"]["p95"] is None or row["final_ms"]["p95"] > LATE_MS)


def line(finding: Finding) -> str:
    """Return a finding as one line, for the terminal."""
    values = {name: value for name, value in finding.items() if name not in ("step", "texts")}
    return f"{finding['step']:<12} " + ", ".join(f"{name}: {_short(value)}" for name, value in values.items())


def report(findings: Sequence[Finding], day: date) -> str:
    """Return the tables of a run, which may have ended early."""
    tables = [_summary(findings), _accuracy(findings), _batches(findings), _streams(findings)]
    return "\n\n".join([_heading(findings, day), *filter(None, tables)]) + "\n"


def _of(findings: Sequence[Finding], *steps: str) -> list[Finding]:
    return [finding for finding in findings if finding["step"] in steps]


def _heading(findings: Sequence[Finding], day: date) -> str:
    found: Finding = next(iter(_of(findings, "environment")), {})
    gpus = [
        f"{gpu['name']} ({gpu['memory.total']} MiB, capability {gpu['compute_cap']}, driver {gpu['driver_version']}, "
        f"CUDA {found['driver_cuda']})"
        for gpu in found.get("gpus", ())
    ]
    versions = ", ".join(f"{name} {version}" for name, version in found.get("versions", {}).items())
    machine = f"{found.get('cores', '?')} cores ({found.get('processor', 'unknown processor')})"
    return (
        f"{', '.join(gpus) or 'No GPU'}; {machine}; {versions}; {day.isoformat()}, `{found.get('commit', 'unknown')}`."
    )


def _summary(findings: Sequence[Finding]) -> str:
    rows: list[tuple[str, str]] = []
    loads = _of(findings, "load", "load again")
    rows += [("model and device", f"{each['model']}, {each['device']}, {each['compute_type']}") for each in loads[:1]
             if "model" in each]  # fmt: skip
    for step, how in (("load", "caches empty"), ("load again", "once more")):
        for found in _of(findings, step):
            if "load_s" in found:
                rows.append((f"load, {how}", _time(found["load_s"])))
            if "first_batch_s" in found:
                both = f"{_time(found['first_batch_s'])} / {_time(found['second_batch_s'])}"
                rows.append((f"first / second batch of {found['batch']}, {how}", both))
    for found in _of(findings, "kill"):
        if found.get("killed") == "worker":
            rows.append(("inference process killed: ready again after", _time(found["ready_again_s"])))
            used = " / ".join(_mib(found[f"{name}_bytes"]) for name in ("used_before", "used", "used_again"))
            rows.append(("memory before / loaded / after that", used))
        if found.get("killed") == "server":
            rows.append(("server killed: inference process gone after", _time(found["worker_gone_s"])))
            free_s = found["memory_free_s"]
            rows.append(("memory free after", "not seen" if free_s is None else _time(free_s)))
    sweep = [row for row in _of(findings, "streams") if "streams" in row]
    if sweep:
        held = max((row["streams"] for row in sweep if not is_too_late(row)), default=0)
        rows.append((f"streams with p95 of finals up to {LATE_MS / 1000} s, of those tried", str(held)))
    for found in findings:
        # A refused stream is counted in `refused`, too.
        for problem in (found.get(name) for name in ("refused", "problem")):
            if isinstance(problem, str):
                rows.append((f"{found['step']}: not finished", problem.replace("|", "/")))
    return _table(("", ""), rows)


def _accuracy(findings: Sequence[Finding]) -> str:
    found = [each for each in _of(findings, "accuracy") if "texts" in each]
    rows = []
    for each in found:
        same = sum(text == found[0]["texts"].get(clip) for clip, text in each["texts"].items())
        wer = "-" if each["wer"] is None else f"{100 * each['wer']:.1f} %"
        rows.append((f"{each['device']}, {each['compute_type']}", wer, f"{same} of {len(each['texts'])}",
                     str(each["n_empty"]), str(each["n_redone"])))  # fmt: skip
    return _table(("words of the engine", "WER", "same text as in the first row", "empty", "decoded twice"), rows)


def _batches(findings: Sequence[Finding]) -> str:
    speeds = {(f["kind"], f["batch"]): f["windows_per_s"] for f in _of(findings, "batches") if "batch" in f}
    rows = []
    for size in sorted({size for _, size in speeds}):
        kinds = [speeds.get((kind, size)) for kind in ("final", "partial")]
        rows.append((str(size), *("-" if speed is None else f"{speed:.1f}" for speed in kinds)))
    return _table(("windows in a batch", "finals / s", "partials of 4 s / s"), rows)


def _streams(findings: Sequence[Finding]) -> str:
    rows = [
        (
            str(row["streams"]),
            _spread_s(row["word_shown_ms"]),
            _spread_s(row["final_ms"]),
            "-" if row["wer"] is None else f"{100 * row['wer']:.1f} %",
            "-" if row["mean_batch_size"] is None else f"{row['mean_batch_size']:.1f}",
            " + ".join("-" if row[name] is None else f"{row[name]:.0f}"
                       for name in ("server_cpu_percent", "inference_cpu_percent")),
            f"{row['client_lag_p99_ms']:.0f} ms",
            str(row["failed"] + row["refused"]),
        )
        for row in sorted((row for row in _of(findings, "streams") if "streams" in row), key=lambda row: row["streams"])
    ]  # fmt: skip
    titles = ("streams", "word shown", "final", "WER", "mean batch", "CPU %, server + inference", "client lag, p99")
    return _table((*titles, "failed or refused"), rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _spread_s(figures: Mapping[str, Any]) -> str:
    if figures["p50"] is None:
        return "-"
    missing = f", {figures['missing']} missing" if figures["missing"] else ""
    return f"{figures['p50'] / 1000:.2f} / {figures['p95'] / 1000:.2f} s{missing}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.0f} MiB"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_short(each)}" for name, each in value.items()) + "}"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text[:LONGEST_VALUE]
