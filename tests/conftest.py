"""Settings that hold for every test."""

import functools
import gc
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from tests.support import warm_python
from tests.support.postgresql import Cluster, running_cluster

TESTS = Path(__file__).parent

NOTICEABLE_S = 0.005
"""The time of a fixture from which `--durations` shows it."""

KINDS = {"pure", "server", "processes", "browser", "model", "ray"}
"""The markers that say what a test needs; setup.cfg describes them. Each test has one."""

LONGEST_FIRST = ["ray", "browser", "processes", "model", "server", "pure"]
"""The kinds by the duration of their files."""

KIND_OF_PLACE = {
    "test_architecture.py": "pure",
    "test_config.py": "pure",
    "test_documents.py": "pure",
    "test_keys.py": "pure",
    "test_languages.py": "pure",
    "test_markers.py": "processes",
    "test_messages.py": "pure",
    "test_packaging.py": "processes",
    "test_security.py": "pure",
    "test_settings.py": "pure",
    "test_wire.py": "pure",
    "test_warm_python.py": "processes",
    "test_without_chromium.py": "processes",
    "audio": "pure",
    "browser": "browser",
    "captions": "pure",
    "cli": "server",
    "cli/test_config.py": "pure",
    "cli/test_token.py": "pure",
    "client": "server",
    "client/test_pacing.py": "pure",
    "delivery": "server",
    "delivery/test_destination.py": "pure",
    "delivery/test_lines.py": "pure",
    "delivery/test_obs_messages.py": "pure",
    "delivery/test_outgoing.py": "pure",
    "delivery/test_services.py": "pure",
    "decoding": "processes",
    "decoding/test_messages.py": "pure",
    "engine": "pure",
    "engine/test_campplus.py": "model",
    "engine/test_catalogue.py": "server",
    "engine/test_analysis.py": "model",
    "engine/test_cuda.py": "processes",
    "engine/test_device.py": "processes",
    "engine/test_features.py": "model",
    "engine/test_main.py": "processes",
    "engine/test_models.py": "server",
    "engine/test_scripted.py": "processes",
    "engine/test_speaker_model.py": "server",
    "engine/test_speech_detection.py": "model",
    "engine/test_voice_model.py": "model",
    "evaluation": "processes",
    "evaluation/gpu/test_engine.py": "model",
    "evaluation/gpu/test_model.py": "model",
    "evaluation/gpu/test_report.py": "pure",
    "evaluation/test_latency.py": "pure",
    "evaluation/test_measurement.py": "pure",
    "evaluation/test_playlist.py": "pure",
    "evaluation/test_fast_turns.py": "pure",
    "evaluation/test_speaker_errors.py": "pure",
    "evaluation/test_stability.py": "pure",
    "evaluation/test_target.py": "pure",
    "evaluation/test_wer.py": "pure",
    "foreign": "server",
    "integration": "server",
    "ipc": "processes",
    "ipc/test_layers.py": "pure",
    "ipc/test_messages.py": "pure",
    "ipc/test_voices.py": "pure",
    "live": "server",
    "live/dialects": "pure",
    "live/test_accounts.py": "pure",
    "live/test_claims.py": "pure",
    "live/test_allowance.py": "pure",
    "live/test_bulletin.py": "pure",
    "live/test_connections.py": "pure",
    "live/test_event_log.py": "pure",
    "live/test_lobby.py": "pure",
    "live/test_mirror.py": "pure",
    "live/test_room_state.py": "pure",
    "live/test_state.py": "pure",
    "live/test_tokens.py": "pure",
    "live/test_turn.py": "pure",
    "model": "model",
    "pipeline": "pure",
    "processes": "processes",
    "ray": "ray",
    "recordings": "server",
    "scheduling": "pure",
    "server": "server",
    "server/deepgram/test_answers.py": "pure",
    "server/openai/test_answers.py": "pure",
    "server/openai/test_fields.py": "pure",
    "server/test_attempts.py": "pure",
    "server/test_forwarded.py": "pure",
    "server/test_merging.py": "pure",
    "server/test_origins.py": "pure",
    "server/test_process_state.py": "pure",
    "server/test_protocols.py": "pure",
    "server/test_shares.py": "pure",
    "speech": "pure",
    "store": "server",
    "store/postgresql/test_messages.py": "pure",
    "store/postgresql/test_schema.py": "pure",
    "store/postgresql/test_statements.py": "pure",
    "store/postgresql/test_words.py": "pure",
    "store/test_config.py": "pure",
    "store/test_rows.py": "pure",
    "store/test_schema.py": "pure",
    "store/test_search.py": "pure",
    "workers": "processes",
    "workers/test_deadlines.py": "pure",
    "workers/test_groups.py": "pure",
    "workers/test_lifecycle.py": "pure",
    "workers/test_processors.py": "pure",
    "workers/test_quarantine.py": "pure",
    "workers/test_restart.py": "pure",
}
"""The kind of the tests in a directory or file, unless they have a marker of their own. The longest place counts."""

gc.disable()
# It is enabled when all tests are found: what imports make stays, and each run of the collector would visit it.

os.environ.setdefault("LIVECAPTION_WORKERS", "1")
"""The worker processes of a started server, unless a test chooses. The life of one is easy to follow, and two would
load on the same cores."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background ignores it, and every process of theirs would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # The threads of a model would wait for each other: two processes of tests with two threads each took four times as
    # long on two busy cores.
    os.environ.setdefault("LIVECAPTION_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ.setdefault("SSL_CERT_FILE", os.devnull)
"""No test needs the certificates of the system, and aiohttp would read them at the start of each process."""

os.environ["LIVECAPTION_STORE"] = "none"
"""No started server writes among the transcripts of the user who runs the tests; a test of a store names its place."""

# The same examples each time, and no judgement of speed: machines that test are busy ones.
for profile, n_examples, n_steps in (("quick", 5, 20), ("thorough", 50, 50)):
    hypothesis.settings.register_profile(
        profile,
        derandomize=True,
        deadline=None,
        max_examples=n_examples,
        stateful_step_count=n_steps,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile("quick")  # `--hypothesis-profile=thorough` is loaded after this, and counts

TEMPLATE = None if os.environ.get("LIVECAPTION_TEST_COLD") else warm_python.install()


@pytest.fixture
def cold_processes() -> Iterator[None]:
    """Start each process as users do, with all its imports."""
    if TEMPLATE:
        TEMPLATE.is_used = False
    yield
    if TEMPLATE:
        TEMPLATE.is_used = True


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server of PostgreSQL that tests share. Each makes a database of its own, and lets it run at its end."""
    with running_cluster() as running:
        yield running


@pytest.fixture
def new_pid_namespace() -> tuple[str, ...]:
    """Return the command that runs another one as pid 1."""
    command = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine does not permit new pid namespaces: {error}")
    return command


@functools.cache
def kind_of_place(path: Path) -> str | None:
    """Return the kind of tests in this file, by the table."""
    if not path.is_relative_to(TESTS):
        return None
    place = path.relative_to(TESTS)
    return next((KIND_OF_PLACE[each] for each in map(str, (place, *place.parents)) if each in KIND_OF_PLACE), None)


@functools.cache
def kinds_in(path: Path) -> frozenset[str]:
    """Return the kinds that tests of this file, or below this directory, may have: by the table or by a marker."""
    if path.is_dir():
        return frozenset().union(*(kinds_in(file) for file in path.rglob("test_*.py")))
    text = path.read_text(encoding="utf-8")
    kind = kind_of_place(path)
    return frozenset({kind} if kind else ()) | {each for each in KINDS if f"mark.{each}" in text}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip places without a test of the kinds that are asked for: their imports take longer than many tests."""
    asked = config.option.markexpr
    if not asked or not set(re.findall(r"[^\s()]+", asked)) <= KINDS | {"and", "or", "not"}:
        return None
    is_code = collection_path.is_dir() or collection_path.suffix == ".py"
    if not is_code or not collection_path.is_relative_to(TESTS) or not (kinds := kinds_in(collection_path)):
        return None
    return not any(eval(asked, {each: each == kind for each in KINDS}) for kind in kinds) or None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by its place."""
    if not KINDS & {mark.name for mark in item.iter_markers()} and (kind := kind_of_place(item.path)):
        item.add_marker(kind)


def pytest_collection_finish() -> None:
    """Take what is there by now out of all garbage collections. It stays to the end, and each one would visit it."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Let a process of several send one report of a test, and not five messages, which take it and its parent 2 ms.

    A fixture is reported if it fails or takes long enough for `--durations`.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed or report.duration >= NOTICEABLE_S:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Find what the tests left behind, once. Python and pytest would visit all that is there several times more."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse to run tests without a kind: nobody would miss them in the subset where they belong.

    Where several processes share the files, the files of longest duration come first. Otherwise one of them would be
    left for the end, when the other processes have nothing to do.
    """
    unmarked = {str(item.path) for item in items if not KINDS & {mark.name for mark in item.iter_markers()}}
    if unmarked:
        raise pytest.UsageError(f"no marker and no place in tests/conftest.py: {', '.join(sorted(unmarked))}")
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: LONGEST_FIRST.index(kind_of_place(item.path) or "pure"))
