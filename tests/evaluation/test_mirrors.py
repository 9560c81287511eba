"""The measurement of mirrors at another server ends with its report."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from livecaption.evaluation.mirrors import main
from tests.support.postgresql import Cluster


def test_it_reports_how_old_events_are_at_another_server(cluster: Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [cluster.empty_database(), "--sessions", "2", "--rate", "50", "--seconds", "0.5"]
    with ThreadPoolExecutor(1) as executor:  # it begins a loop of its own
        executor.submit(main, arguments).result()
    report = capfd.readouterr().out
    found = re.search(r"published (\d+) events, .*received (\d+), .*torn mirrors: 0", report)
    assert found, report
    assert int(found[1]) >= int(found[2]) > 0
