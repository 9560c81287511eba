"""The rules of ARCHITECTURE.md that a machine can keep."""

import configparser
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import livecaption
from livecaption import client
from tests.support.cases import for_each
from tests.support.syntax import imported_names

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "livecaption"
MODULES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))

LAYERS = [
    {"errors", "wire"},
    {"events"},
    {"recognition", "messages"},
    {"audio"},
    {"speech", "captions"},
    {"scheduling"},
    {"ipc"},
    {"pipeline", "store"},
    {"decoding"},
    {"workers", "engine"},
    {"settings", "keys"},
    {"config"},
    {"live"},
    {"recordings", "delivery"},
    {"server"},
    {"client", "evaluation"},
    {"cli"},
    {"__main__"},
]
"""From the bottom up. A module imports its own layer and those below, with two exceptions."""

SETTINGS = {
    f"livecaption/{package}/config.py" for package in ("delivery", "ipc", "live", "scheduling", "server", "workers")
}
"""Frozen dataclasses that `config` composes; they import errors and each other only."""

SERVER_PURE = ("access.py", "attempts.py", "forwarded.py", "merging.py", "origins.py", "process_state.py")

PURE = [
    path
    for path in MODULES
    if path.parts[1] in ("audio", "speech", "captions", "scheduling", "pipeline")
    or path.name in ("errors.py", "events.py", "recognition.py", "wire.py")
    or path.parts[1:3] in (("live", "dialects"), ("live", "state.py"), ("live", "room_state.py"))
    or path.parts[1:3] == ("workers", "lifecycle.py")
    or path.parts[1:4]
    in (("store", "postgresql", f"{name}.py") for name in ("messages", "reach", "schema", "statements", "words"))
    or str(path) in ("livecaption/store/schema.py", "livecaption/store/rows.py", "livecaption/store/search.py")
    or path.parts[1:3]
    in (
        ("engine", "batches.py"),
        ("engine", "plan.py"),
        ("engine", "language.py"),
        ("ipc", "voices.py"),
        ("live", "turn.py"),
        ("live", "title.py"),
    )
    or path.name in ("allowance.py", "bulletin.py", "event_log.py", "tokens.py")
    or path.name in ("restart.py", "deadlines.py", "messages.py", "quarantine.py")
    or path.parts[1] == "keys.py"
    or path.parts[1:3] in (("delivery", name) for name in ("lines.py", "outgoing.py", "services.py", "obs_messages.py"))
    or path.parts[1:3] in (("server", name) for name in SERVER_PURE)
    or (path.parts[1:3] in (("server", "openai"), ("server", "deepgram")) and path.name != "handlers.py")
]
IO_PACKAGES = {
    *("aiohttp", "aiojobs", "asyncio", "http", "logging", "multiprocessing", "os", "psutil", "queue", "random"),
    *("selectors", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib"),
}

IMPORTERS = {
    "aiohttp": (
        *("livecaption/delivery/", "livecaption/live/", "livecaption/server/", "livecaption/client/"),
        "livecaption/cli/sources.py",
    ),
    "aiojobs": ("livecaption/live/connection.py",),
    # The second one encodes what the first one decodes.
    "av": (
        *("livecaption/audio/container.py", "livecaption/audio/track.py", "livecaption/decoding/broadcast.py"),
        "livecaption/evaluation/containers.py",
    ),
    "cryptography": ("livecaption/server/certificate.py",),
    "yarl": ("livecaption/delivery/",),
    "segno": ("livecaption/server/readers.py",),
    "shtab": ("livecaption/cli/completion.py",),
    "soxr": ("livecaption/audio/resampling.py",),
    "webrtcvad": ("livecaption/speech/vad.py",),
    "faster_whisper": ("livecaption/engine/", "livecaption/evaluation/virtual_time.py"),
    "ctranslate2": ("livecaption/engine/",),
    "onnx": ("livecaption/engine/campplus.py", "livecaption/engine/speaker_model.py"),
    "onnxruntime": ("livecaption/engine/voice_model.py",),
    "sentencepiece": ("livecaption/engine/translation_model.py",),
    "threadpoolctl": ("livecaption/engine/processor.py",),
    "torch": ("livecaption/engine/",),
    "ray": ("livecaption/engine/remote.py",),
    "huggingface_hub": ("livecaption/engine/",),
    "prometheus_client": tuple(f"livecaption/server/{name}.py" for name in ("metrics", "figures", "families")),
    "platformdirs": ("livecaption/store/config.py",),
    "asyncpg": ("livecaption/store/postgresql/",),
    "sqlite3": ("livecaption/store/",),
    "psutil": (
        *("livecaption/ipc/locks.py", "livecaption/workers/", "livecaption/evaluation/"),
        "livecaption/server/addresses.py",
    ),
    "rich": ("livecaption/cli/", "livecaption/evaluation/"),
    "jiwer": ("livecaption/evaluation/",),
    "matplotlib": ("livecaption/evaluation/plots.py",),
    "whisper_normalizer": ("livecaption/evaluation/",),
}

ENGINE_PROGRAMS = {
    "livecaption/evaluation/engine_bench.py",
    "livecaption/evaluation/gpu/engine.py",
    "livecaption/evaluation/gpu/pack.py",
    "livecaption/evaluation/long_form.py",
    "livecaption/evaluation/virtual_time.py",
    "livecaption/cli/models.py",
    "livecaption/cli/doctor.py",
}
"""Programs that look after models or measure the engine. Each runs without a server in its process."""

WITHOUT_TESTS_OF_THEIR_OWN = {
    "livecaption/engine/loading.py": "tests/engine/test_device.py, tests/engine/test_models.py",
    "livecaption/engine/remote.py": "needs Ray: tests/ray/test_remote.py",
    "livecaption/events.py": "types; tested wherever events are",
    "livecaption/recognition.py": "types",
    "livecaption/scheduling/request.py": "types",
    "livecaption/pipeline/latency.py": "types",
    "livecaption/engine/whisper.py": "needs the model: tests/model/test_whisper.py, tests/engine/test_engine.py",
    "livecaption/engine/decoder.py": "needs the model: tests/model/test_whisper.py, test_batches_on_a_gpu.py",
    "livecaption/engine/tokens.py": "needs the model: tests/model/test_whisper.py",
    "livecaption/engine/alignment.py": "needs the model: tests/model/test_whisper.py",
    "livecaption/delivery/config.py": "settings; tests/test_config.py",
    "livecaption/delivery/receiver.py": "types",
    "livecaption/live/peer.py": "types",
    "livecaption/live/published.py": "tests/live/test_hub.py",
    "livecaption/live/publication.py": "tests/live/test_mirror.py, tests/live/test_anywhere.py",
    "livecaption/live/following.py": "tests/live/test_anywhere.py",
    "livecaption/live/ready.py": "tests/live/test_session.py",
    "livecaption/live/room_parts.py": "tests/live/test_room.py",
    "livecaption/live/stored_rooms.py": "tests/live/test_rooms.py",
    "livecaption/live/transport.py": "types",
    "livecaption/live/dialects/commands.py": "types",
    "livecaption/server/services.py": "types",
    "livecaption/live/config.py": "settings; tests/test_security.py",
    "livecaption/scheduling/instructions.py": "types",
    "livecaption/scheduling/config.py": "settings; tests/scheduling/test_admission.py",
    "livecaption/server/config.py": "settings; tests/test_config.py",
    "livecaption/workers/config.py": "settings; tests/test_config.py",
    "livecaption/ipc/config.py": "settings; tests/test_config.py",
    "livecaption/ipc/job_object.py": "Windows only; not run anywhere yet",
    "livecaption/__main__.py": "three lines; tests/cli/test_commands.py",
    **{
        f"livecaption/cli/{name}.py": "tests/cli/test_commands.py runs the commands"
        for name in ("serve", "transcribe", "listen", "bench", "streaming")
    },
    "livecaption/evaluation/bystander.py": "tests/evaluation/test_siege.py",
    "livecaption/store/postgresql/questions.py": "tests/store/test_store.py, for each implementation",
    "livecaption/store/postgresql/rooms.py": "tests/store/test_room_claims.py, for each implementation",
    "livecaption/store/postgresql/presence.py": "tests/store/postgresql/test_ownership.py",
    "livecaption/store/postgresql/writer.py": "tests/store/postgresql/test_store.py",
    "livecaption/store/postgresql/readable.py": "tests/store/test_store.py, for each implementation",
    "livecaption/server/publishers.py": "tests/live/test_connection.py, tests/server/test_protocols.py",
    "livecaption/store/postgresql/reading.py": "tests/store/test_archive.py, for each implementation",
    "livecaption/store/postgresql/restoring.py": "tests/store/test_archive.py, for each implementation",
    "livecaption/store/broadcast.py": "types",
    "livecaption/store/ownership.py": "tests/store/test_database.py, tests/store/test_schema.py",
    **{f"livecaption/server/{name}.py": "tests/processes/test_several.py" for name in ("child", "elsewhere")},
    "livecaption/server/growing.py": "tests/server/test_transcripts.py",
    "livecaption/server/shared_sinks.py": "tests/processes/test_sinks.py",
    "livecaption/server/changes.py": "tests/server/test_transcripts.py, tests/live/test_anywhere.py",
    "livecaption/server/loop_watch.py": "tests/processes/test_monitoring.py",
    "livecaption/store/asking.py": "tests/store/test_room_claims.py, for each implementation",
    "livecaption/store/keeper.py": "tests/store/test_shared.py",
    "livecaption/store/neighbours.py": "tests/store/test_shared.py",
    "livecaption/store/owners.py": "tests/store/test_shared.py",
    "livecaption/errors.py": "types; tested wherever they are raised",
}


def imports(path: Path) -> frozenset[str]:
    """Return the dotted names that a module imports."""
    return imported_names(ROOT / path)


def layer(name: str) -> int:
    """Rank of a module of ours by its first part below the package."""
    return next(rank for rank, names in enumerate(LAYERS) if name in names)


def import_goes_down(path: Path, name: str) -> bool:
    """Return true if the layers allow the module to import the name."""
    parts = name.split(".")
    if path == Path("livecaption/__init__.py"):
        # For type checkers, and when a name of the client is used.
        return name == "typing.TYPE_CHECKING" or name.startswith("livecaption.client")
    own = path.with_suffix("").parts[1]
    if parts[0] != "livecaption" or len(parts) < 2 or parts[1] in (own, "__version__", "static"):
        return True
    if str(path) == "livecaption/config.py" and "/".join(["livecaption", *parts[1:3]]) + ".py" in SETTINGS:
        return True
    if str(path) in SETTINGS and parts[1] != "errors" and parts[2] != "config":
        return False
    return layer(parts[1]) <= layer(own)


def test_imports_go_down_only() -> None:
    wrong = [f"{path}: {name}" for path in MODULES for name in imports(path) if not import_goes_down(path, name)]
    assert wrong == []


def graph() -> dict[str, set[str]]:
    """Modules of ours by name, and those that each imports, type-checking imports included."""
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        found[name] = set()
        for imported in imports(path):
            module = imported if imported in names else imported.rpartition(".")[0]
            if module in names and module != name:
                found[name].add(module)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = graph()
    while leaves := {name for name, imported in left.items() if not imported & left.keys()}:
        left = {name: imported for name, imported in left.items() if name not in leaves}
    assert {name: imported & left.keys() for name, imported in left.items()} == {}


def test_a_pure_module_has_no_io_no_clock_and_no_loop() -> None:
    assert len(PURE) > 40
    assert [f"{path}: {name}" for path in PURE for name in imports(path) if name.split(".")[0] in IO_PACKAGES] == []


def test_the_coverage_that_is_reported_is_that_of_the_pure_modules() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    patterns = settings["coverage:report"]["include"].split()
    assert [pattern for pattern in patterns if not any(path.match(pattern) for path in MODULES)] == []
    measured = [path for path in MODULES if any(path.match(pattern) for pattern in patterns)]
    assert measured == [path for path in PURE if str(path) != "livecaption/engine/tokens.py"]  # its tests need a model


def test_each_library_is_imported_in_one_place() -> None:
    wrong = [
        f"{path}: {name}"
        for path in MODULES
        for name in imports(path)
        if not str(path).startswith(IMPORTERS.get(name.split(".")[0], "livecaption/"))
    ]
    assert wrong == []


def test_the_engine_is_imported_only_by_itself_and_programs_about_models() -> None:
    for path in MODULES:
        if path.parts[1] != "engine" and str(path) not in ENGINE_PROGRAMS:
            assert not any(name.startswith("livecaption.engine") for name in imports(path)), path


def test_workers_and_engine_do_not_import_each_other() -> None:
    for path in MODULES:
        others = {"workers": "livecaption.engine", "engine": "livecaption.workers"}.get(path.parts[1])
        if others is not None:
            assert not any(name.startswith(others) for name in imports(path)), path


def test_the_evaluation_is_not_imported_by_the_server() -> None:
    for path in MODULES:
        if path.parts[1] not in ("evaluation", "cli"):
            assert not any(name.startswith("livecaption.evaluation") for name in imports(path)), path


def test_every_module_has_its_test_module() -> None:
    without = set()
    for path in MODULES:
        below = path.relative_to("livecaption")
        if path.name != "__init__.py" and not (ROOT / "tests" / below.parent / f"test_{below.name}").exists():
            without.add(str(path))
    assert without - set(WITHOUT_TESTS_OF_THEIR_OWN) == set()


def test_a_module_has_400_lines_at_most() -> None:
    """One story each, which a reader can take in."""
    assert [str(path) for path in MODULES if len((ROOT / path).read_text().splitlines()) > 400] == []


def test_every_module_has_a_docstring() -> None:
    assert [str(path) for path in MODULES if not re.match(r'r?"""\S', (ROOT / path).read_text())] == []


@for_each("name", ["client", "config", "events", "server"])
def test_a_public_module_lists_what_is_public(name: str) -> None:
    module = importlib.import_module(f"livecaption.{name}")
    assert module.__all__
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


def test_the_program_runs_one_event_loop() -> None:
    """A second one is what "Cannot run the event loop while another loop is running" comes from."""
    starters = (
        "asyncio.run(",
        "asyncio.Runner(",
        ".run_until_complete(",
        "run_forever(",
        "run_app(",
        "new_event_loop(",
    )
    found = [
        f"{path}: {line.strip()}"
        for path in MODULES
        for line in (ROOT / path).read_text().splitlines()
        if any(starter in line for starter in starters) and "`" not in line
    ]
    # One for the server, one for the other commands, one for each measuring program.
    for line in found:
        assert line.startswith(("livecaption/server/lifecycle.py", "livecaption/cli/", "livecaption/evaluation/")), line
    assert len([line for line in found if "lifecycle" in line]) == 1
    assert len([line for line in found if "livecaption/cli/" in line]) == 1


@functools.cache
def loaded_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.processes
def test_importing_livecaption_costs_nothing() -> None:
    ours = {name for name in loaded_by("import livecaption") - loaded_by("pass") if name.startswith("livecaption")}
    assert ours == {"livecaption"}


def test_the_package_offers_names_of_the_client() -> None:
    offered = set(livecaption.__all__) - {"__version__"}
    assert {"connect", "watch"} <= offered <= set(client.__all__)
    assert [name for name in offered if getattr(livecaption, name) is not getattr(client, name)] == []
    assert not hasattr(livecaption, "applause")


@pytest.mark.processes
def test_the_server_process_never_loads_a_model_library() -> None:
    loaded = loaded_by("import livecaption.server.lifecycle")
    heavy = {"torch", "ctranslate2", "faster_whisper", "onnxruntime", "huggingface_hub", "ray", "livecaption.engine"}
    assert loaded & heavy == set()


@pytest.mark.processes
def test_the_server_process_never_loads_what_parses_containers() -> None:
    """FFmpeg is native code; the bytes of strangers reach it in processes of their own."""
    assert "av" not in loaded_by("import livecaption.server.lifecycle")


@pytest.mark.processes
def test_the_server_process_loads_the_library_of_another_database_only_if_it_is_asked_to() -> None:
    build = "from livecaption.config import Config; from livecaption.server import build_app; build_app(Config())"
    assert "asyncpg" not in loaded_by(build)


@pytest.mark.processes
def test_the_client_loads_nothing_of_the_server() -> None:
    loaded = loaded_by("from livecaption import connect, watch")
    assert "livecaption.client" in loaded
    assert loaded & {"aiohttp.web", "av", "livecaption.server", "livecaption.pipeline", "webrtcvad"} == set()


@pytest.mark.processes
def test_the_settings_load_no_library() -> None:
    """`livecaption --help` shows them."""
    assert loaded_by("import livecaption.config") & {"aiohttp", "av", "soxr", "torch", "webrtcvad"} == set()
