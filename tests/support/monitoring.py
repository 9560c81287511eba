"""The alerts and the dashboard of packaging/monitoring, and the metrics that they use."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

MONITORING = Path(__file__).parents[2] / "packaging" / "monitoring"
ALERTS = MONITORING / "alerts.yaml"
TESTS = MONITORING / "alerts.test.yaml"
DASHBOARD = MONITORING / "dashboard.json"

SELECTOR = re.compile(r"\b((?:livecaption|process)_\w+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~?)"([^"]*)"')
GROUPING = re.compile(r"\bby \(([^)]*)\)")
OF_THE_SCRAPE = {"job", "instance"}
"""Labels that Prometheus adds to each sample."""
INTERVAL = "$__rate_interval"


@dataclass(frozen=True)
class Selector:
    """A metric in an expression, with the labels that must have a value there."""

    name: str
    labels: tuple[tuple[str, str, str], ...]


def selectors(expression: str) -> list[Selector]:
    """Return the metrics of an expression of Prometheus."""
    return [
        Selector(match[1], tuple((label[1], label[2], label[3]) for label in MATCHER.finditer(match[2] or "")))
        for match in SELECTOR.finditer(GROUPING.sub("", expression))
    ]


def groupings(expression: str) -> set[str]:
    """Return the labels by which an expression groups."""
    return {label.strip() for match in GROUPING.finditer(expression) for label in match[1].split(",")}


def rules() -> list[dict[str, Any]]:
    """Return the alerts."""
    found: list[dict[str, Any]] = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    return found


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that show figures."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Return all expressions of the alerts and of the dashboard."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*(rule["expr"] for rule in rules()), *(expression.replace(INTERVAL, "5m") for expression in shown)]


def promtool() -> str:
    """Return the path of promtool. Skip the test without it, or fail it where `CI` is set."""
    found = shutil.which("promtool")
    if found is None:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("the tests of alerts need promtool: apt-get install --no-install-recommends prometheus")
    return found
