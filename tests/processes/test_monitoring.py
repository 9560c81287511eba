"""The alerts and the dashboard of packaging/monitoring, with Prometheus's own tool and the metrics of a real server."""

import re
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.monitoring import (
    ALERTS,
    OF_THE_SCRAPE,
    TESTS,
    dashboard,
    expressions,
    groupings,
    panels,
    promtool,
    rules,
    selectors,
)
from tests.support.processes import serving
from tests.support.speech import pcm_s16le, sound

pytestmark = pytest.mark.processes

GUIDE = Path(__file__).parents[2] / "docs" / "monitoring.md"
SPEECH = pcm_s16le(sound("silence 200ms, speech 1200ms, silence 1000ms"))


def run(*arguments: str | Path) -> str:
    """Run promtool and return its output, if it finds no fault."""
    done = subprocess.run([promtool(), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_understands_the_alerts() -> None:
    assert f"{len(rules())} rules found" in run("check", "rules", ALERTS)


def test_each_fault_raises_its_alert_and_a_server_at_rest_none() -> None:
    assert "SUCCESS" in run("test", "rules", TESTS)
    tested = yaml.safe_load(TESTS.read_text())["tests"][-1]["promql_expr_test"][0]["exp_samples"]
    assert [rule["alert"] for rule in rules()] == [re.search(r'"(\w+)"', sample["labels"])[1] for sample in tested]


def test_prometheus_understands_each_expression_of_the_dashboard(tmp_path: Path) -> None:
    records = [{"record": f"panel_{n}", "expr": expression} for n, expression in enumerate(expressions())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    run("check", "rules", file)


def test_each_alert_has_its_urgency_and_its_meaning() -> None:
    for rule in rules():
        assert rule["alert"].startswith("Livecaption")
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert "$labels.instance" in rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith((".", ")."))


def test_the_guide_lists_the_alerts() -> None:
    listed = re.findall(r"^\| `(Livecaption\w+)` \| (\w+) \|", GUIDE.read_text(), re.MULTILINE)
    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in rules()]


def test_each_panel_has_a_title_a_unit_and_a_description_and_a_place_of_its_own() -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken.update((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in _rows(place))
    assert set(taken.values()) == {1}
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


def _rows(place: dict[str, int]) -> range:
    return range(place["y"], place["y"] + place["h"])


async def test_each_metric_of_alerts_and_dashboard_is_one_of_a_server_with_these_labels() -> None:
    """A server without a GPU has no metrics of its memory; the guide has the labels of those."""
    names = {"up": set[str]()}
    for name, listed in re.findall(r"^\| `(livecaption_device_\w+)\{([\w,]+)\}` \|", GUIDE.read_text(), re.MULTILINE):
        names[name] = set(listed.split(","))
    values: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(await scraped()):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
            for label, value in sample.labels.items():
                values[sample.name, label].add(value)
    for expression in expressions():
        for selector in selectors(expression):
            assert selector.name in names, expression
            for label, _, _ in selector.labels:
                assert label in names[selector.name] | OF_THE_SCRAPE, expression
            for label, operator, value in selector.labels:
                if operator == "=" and label not in OF_THE_SCRAPE:
                    assert value in values[selector.name, label], expression
        known = OF_THE_SCRAPE.union(*(names[selector.name] for selector in selectors(expression)))
        assert groupings(expression) <= known, expression


async def scraped() -> str:
    """Return the metrics of a server that has captioned an utterance, and has refused a stream."""
    flags = ("--workers", "1", "--max-streams", "1", "--store", "transcripts.db", "--tls-self-signed")
    async with (
        serving(*flags) as server,
        aiohttp.ClientSession(await server.ready(), connector=aiohttp.TCPConnector(ssl=False)) as client,
    ):
        async with client.ws_connect("/v1/stream") as socket:
            await socket.send_json({"type": "start"})
            await socket.send_bytes(SPEECH)
            while (await socket.receive_json())["type"] != "final":
                pass
            async with client.get("/v1/stream") as refused:
                assert refused.status == 503
        async with client.get("/metrics") as response:
            return await response.text()
