"""These are installed with livecaption: packages, the systemd unit, and requirements pinned with their hashes."""

import email
import importlib.metadata
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import livecaption
from livecaption.cli import build_parser, health
from livecaption.config import VARIABLES
from livecaption.live.config import SocketLimits
from livecaption.server import listening, loop_watch
from livecaption.server.config import HttpLimits, ServerConfig
from livecaption.store.config import StoreConfig

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "packaging" / "Dockerfile"
PROXIES = ROOT / "packaging" / "proxies"
UNIT = ROOT / "packaging" / "livecaption.service"
SOCKETS = UNIT.with_suffix(".socket")
PINNED = ROOT / "packaging" / "requirements.txt"
PINNED_GPU = ROOT / "packaging" / "requirements-gpu.txt"
PINNED_CLUSTER = ROOT / "packaging" / "requirements-cluster.txt"
GPU_CLASSES = ["nvidia", "nvidiactl", "nvidia-frontend", "nvidia-uvm", "nvidia-caps"]
"""Names of NVIDIA's devices in /proc/devices, of drivers before and since 545, and for instances of MIG."""


def settings(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.fixture
def installed_unit(tmp_path: Path) -> Path:
    """The unit, with a program that exists."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/livecaption/bin/livecaption", sys.executable))
    return unit


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_the_directory_of_a_unix_socket_is_made_at_each_boot_by_the_line_of_the_guide(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    [(line, name)] = re.findall(r"^echo '(d /run/.*)' > /etc/tmpfiles\.d/(\S+)", guide, re.MULTILINE)
    (tmp_path / "etc" / "tmpfiles.d").mkdir(parents=True)
    (tmp_path / "etc" / "tmpfiles.d" / name).write_text(f"{line}\n")
    (tmp_path / "etc" / "passwd").write_text(f"livecaption:x:{os.getuid()}:{os.getgid()}::/:/bin/false\n")
    (tmp_path / "etc" / "group").write_text(f"www-data:x:{os.getgid()}:\n")
    assert f"systemd-tmpfiles --create {name}\n" in guide
    subprocess.run(["systemd-tmpfiles", f"--root={tmp_path}", "--create", name], check=True)
    [path] = re.findall(r"--host unix:(/run/livecaption/\S+)", guide)
    directory = tmp_path / Path(path).parent.relative_to("/")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o2750


def test_systemd_understands_the_unit(installed_unit: Path) -> None:
    verified = analyze("verify", "--recursive-errors=no", installed_unit)
    assert (verified.returncode, verified.stdout) == (0, "")


def test_systemd_understands_the_unit_of_the_sockets(installed_unit: Path) -> None:
    sockets = installed_unit.with_suffix(".socket")
    for text in (SOCKETS.read_text(), SOCKETS.read_text().replace("#ListenStream", "ListenStream")):
        sockets.write_text(text)
        verified = analyze("verify", "--recursive-errors=no", sockets)
        assert (verified.returncode, verified.stdout) == (0, "")


def test_the_unix_socket_is_for_the_group_of_the_proxy_only() -> None:
    """The same permissions as those of a socket that the server makes itself."""
    [mode] = re.findall(r"^SocketMode=(\d+)$", SOCKETS.read_text(), re.MULTILINE)
    assert int(mode, 8) == listening.UNIX_MODE
    variables = set(re.findall(r"LIVECAPTION_[A-Z_]+", SOCKETS.read_text()))
    assert variables <= set(VARIABLES)


def test_the_unit_exposes_little(installed_unit: Path) -> None:
    """At most 2.0 of 10; 7.0 is what an unhardened unit of a dynamic user has."""
    assessed = analyze("security", "--offline=yes", "--threshold=20", installed_unit)
    assert assessed.returncode == 0, assessed.stdout


def test_the_unit_reloads_and_is_watched() -> None:
    assert (settings("Type"), settings("ExecReload")) == (["notify"], ["kill -HUP $MAINPID"])
    [watchdog_s] = settings("WatchdogSec")
    assert int(watchdog_s) > 2 * loop_watch.BLOCKED_AFTER_S  # the stacks of a blocked loop are logged before


def test_the_unit_has_descriptors_for_all_readers() -> None:
    [limit] = settings("LimitNOFILE")
    assert int(limit) > 2 * ServerConfig().max_readers


def test_the_unit_lets_the_devices_of_gpus_through_by_all_their_names() -> None:
    """Each name exactly: systemd matches them like names of files."""
    allowed = dict(line.split() for line in settings("DeviceAllow"))
    assert settings("DevicePolicy") == ["closed"]
    assert list(allowed) == [f"char-{name}" for name in GPU_CLASSES]


def test_the_devices_of_gpus_are_made_before_the_unit_is_confined_to_them() -> None:
    """systemd resolves their names before it runs any command of the unit, so their modules are loaded before that."""
    modules = "modprobe@nvidia.service modprobe@nvidia_uvm.service"
    assert modules in settings("Wants")
    assert modules in settings("After")
    # With all rights, and no fault where there is no such program. The first one makes as many as there are GPUs;
    # nvidia-modprobe would make any number of them. With -u it makes the files of unified memory alone.
    made = settings("ExecStartPre")
    assert made == ["-+/usr/bin/nvidia-smi -L", "-+/usr/bin/nvidia-modprobe -u -c0"]
    allowed = dict(line.split() for line in settings("DeviceAllow"))
    assert [name for name in ("char-nvidia", "char-nvidia-uvm") if "m" not in allowed[name]] == []


def test_the_unit_keeps_what_a_gpus_driver_compiles_where_it_may_write() -> None:
    """An inference process makes it: with one directory below another, systemd before 252 does not start the unit."""
    [directory] = settings("CacheDirectory")
    [cache] = [line.partition("=")[2] for line in settings("Environment") if line.startswith("CUDA_CACHE_PATH=")]
    assert " " not in directory
    assert Path(f"/var/cache/{directory}") in Path(cache).parents


def test_the_unit_lets_a_process_confine_itself_further() -> None:
    allowed, denied = settings("SystemCallFilter")
    assert {"@system-service", "seccomp"} <= set(allowed.split())
    assert denied == "~@privileged @resources"
    assert settings("SystemCallErrorNumber") == ["EPERM"]


# The image, and the file for Docker Compose


def instructions(name: str) -> list[str]:
    """Return the arguments of each instruction of this name."""
    lines = re.sub(r"^#.*\n|\\\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).splitlines()
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{name} ")]


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in instructions("ENV") for pair in line.split())


def test_the_image_follows_the_rules_of_hadolint() -> None:
    """The linter of Dockerfiles, with its linter of shell scripts."""
    hadolint = Path(sys.executable).parent / "hadolint"
    linted = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_all_that_the_image_writes_is_in_its_volume() -> None:
    [volume] = instructions("VOLUME")
    environment = image_environment()
    names = ("LIVECAPTION_STORE", "HOME", "HF_HOME", "XDG_CACHE_HOME", "CUDA_CACHE_PATH")
    places = [environment[name] for name in names]
    assert [place for place in places if not Path(place).is_relative_to(volume)] == []


def test_the_image_asks_for_the_driver_of_a_gpu_and_no_more_of_it() -> None:
    assert image_environment()["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_the_image_has_what_is_pinned_and_with_an_argument_what_is_pinned_for_a_gpu() -> None:
    assert "EXTRAS=" in instructions("ARG")
    [installs, _] = instructions("RUN")
    shell = {"EXTRAS": "gpu", "PATH": os.environ["PATH"]}
    for extras, files in (("", [PINNED]), ("gpu", [PINNED, PINNED_GPU])):
        script = f'pip() {{ printf "%s\\n" "$@"; }}; {installs}'
        shell["EXTRAS"] = extras
        arguments = subprocess.run(["sh", "-c", script], env=shell, capture_output=True, text=True, check=True).stdout
        assert "--require-hashes" in arguments.split()
        assert [ROOT / name for name in re.findall(r"^-r\n(\S+)", arguments, re.MULTILINE)] == files


def test_the_image_runs_as_a_user_with_a_number_and_starts_the_server() -> None:
    assert instructions("USER")[-1].isdecimal()
    program, *command = json.loads(instructions("ENTRYPOINT")[0])
    assert program == "livecaption"
    assert build_parser().parse_args(command).command == "serve"
    assert {name for name in image_environment() if name.startswith("LIVECAPTION_")} <= set(VARIABLES)


def test_the_image_is_healthy_while_its_server_answers() -> None:
    [check] = instructions("HEALTHCHECK")
    options, _, command = check.partition(" CMD ")
    assert build_parser().parse_args(json.loads(command)[1:]).command == "health"
    [timeout_s] = re.findall(r"--timeout=(\d+)s", options)
    assert int(timeout_s) > health.ANSWER_TIMEOUT_S


@pytest.fixture
def compose() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "packaging" / "compose.yaml").read_text())
    assert set(content) == {"name", "services", "networks", "configs", "volumes"}
    return content


def test_the_compose_file_fits_the_image(compose: dict[str, Any]) -> None:
    service = compose["services"]["livecaption"]
    assert (ROOT / "packaging" / service["build"]["context"] / service["build"]["dockerfile"]).samefile(DOCKERFILE)
    assert set(service["environment"]) <= set(VARIABLES)
    assert [mount.split(":")[1] for mount in service["volumes"]] == instructions("VOLUME")
    assert (service["read_only"], service["tmpfs"]) == (True, ["/tmp"])
    assert int(service["stop_grace_period"].removesuffix("s")) > ServerConfig().drain_timeout_s + 3


def test_the_compose_file_for_gpus_adds_to_the_other_one(compose: dict[str, Any]) -> None:
    content = yaml.safe_load((ROOT / "packaging" / "compose.gpu.yaml").read_text())
    assert (set(content), set(content["services"])) == ({"services"}, {"livecaption"})
    service = content["services"]["livecaption"]
    assert service["build"] == {"args": {"EXTRAS": "gpu"}}
    assert service["image"] != compose["services"]["livecaption"]["image"]
    assert service["environment"] == {"LIVECAPTION_DEVICE": "${LIVECAPTION_DEVICE:-cuda:all}"}
    assert set(service["environment"]) <= set(VARIABLES)
    [devices] = service["deploy"]["resources"]["reservations"]["devices"]
    assert devices == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_the_proxy_of_the_compose_file_reaches_the_port_of_the_image(compose: dict[str, Any]) -> None:
    assert instructions("EXPOSE") == [str(ServerConfig().port)]
    proxy = compose["services"]["caddy"]
    assert proxy["configs"] == [{"source": "caddyfile", "target": "/etc/caddy/Caddyfile"}]
    assert proxy["depends_on"] == {"livecaption": {"condition": "service_healthy"}}
    lines = [line.strip() for line in (PROXIES / "Caddyfile").read_text().splitlines()]
    example = "\n".join(line for line in lines if line and not line.startswith("#"))
    for of_example, of_compose in (("captions.example.org", "${DOMAIN}"), ("127.0.0.1", "livecaption")):
        example = example.replace(of_example, of_compose)
    written = compose["configs"]["caddyfile"]["content"].splitlines()
    assert [line.strip() for line in written] == example.splitlines()
    assert f"reverse_proxy livecaption:{ServerConfig().port} {{" in example


def test_the_compose_file_trusts_the_addresses_of_its_own_network_only(compose: dict[str, Any]) -> None:
    [network] = compose["networks"]["default"]["ipam"]["config"]
    trusted = compose["services"]["livecaption"]["environment"]["LIVECAPTION_TRUSTED_PROXY"]
    assert trusted == network["subnet"]
    assert ServerConfig(trusted_proxies=(trusted,))
    assert "ports" not in compose["services"]["livecaption"]


@pytest.fixture
def cells() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "packaging" / "compose.cells.yaml").read_text())
    return content


def test_each_cell_of_the_compose_file_is_a_server_of_the_image_with_the_database_beside_it(
    compose: dict[str, Any], cells: dict[str, Any]
) -> None:
    services = cells["services"]
    assert services["cell1"] == services["cell2"]
    assert {name for name, service in services.items() if "ports" in service} == {"haproxy"}
    cell, alone = services["cell1"], compose["services"]["livecaption"]
    same = ("stop_grace_period", "read_only", "tmpfs", "cap_drop", "security_opt")
    assert [cell[name] for name in same] == [alone[name] for name in same]
    assert cell["build"] == {**alone["build"], "args": {"EXTRAS": "cluster"}}
    assert cell["image"] != alone["image"]
    assert set(cell["environment"]) <= set(VARIABLES)
    store = StoreConfig(path=cell["environment"]["LIVECAPTION_STORE"])
    database = services["postgresql"]["environment"]
    names = (database["POSTGRES_USER"], "postgresql", database["POSTGRES_DB"])
    assert store.is_postgresql
    assert re.fullmatch(r"postgresql://(\w+):\$\{.*\}@(\w+)/(\w+)", store.path).groups() == names
    [network] = cells["networks"]["default"]["ipam"]["config"]
    assert cell["environment"]["LIVECAPTION_TRUSTED_PROXY"] == network["subnet"]
    mounts = [mount.split(":")[0] for service in services.values() for mount in service["volumes"]]
    assert {mount for mount in mounts if mount.isalpha()} == set(cells["volumes"])


def test_the_proxy_of_the_cells_is_the_example_with_their_names(cells: dict[str, Any]) -> None:
    proxy = cells["services"]["haproxy"]
    waits = {"condition": "service_healthy"}
    assert proxy["depends_on"] == {"cell1": waits, "cell2": waits}
    text = (PROXIES / "haproxy-cells.cfg").read_text()
    for number in (1, 2):
        text = text.replace(f"10.0.0.1{number}:8000", f"cell{number}:{ServerConfig().port}")
    example = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert cells["configs"]["haproxy"]["content"].splitlines() == example
    [certificate] = [mount.removesuffix(":ro").split(":")[-1] for mount in proxy["volumes"]]
    assert f"ssl crt {certificate}" in text


def test_the_documents_give_volumes_of_earlier_images_to_the_user_of_the_image() -> None:
    [volume] = instructions("VOLUME")
    command = f"docker run --rm --user 0 -v livecaption:{volume} --entrypoint chown livecaption -R {{}}:0 {volume}"
    for name in ("CHANGES.md", "docs/operating.md"):
        assert command.format(instructions("USER")[-1]) in (ROOT / name).read_text()


def test_no_tracked_file_is_a_symbolic_link() -> None:
    """Git keeps its target as a path, which other checkouts do not have."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a checkout of git")
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "100644" in listed.stdout
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000")] == []


def test_every_volume_of_the_compose_file_is_named(compose: dict[str, Any]) -> None:
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service["volumes"]]
    assert sorted(mounts) == sorted(compose["volumes"])


@pytest.fixture(scope="module")
def pinned() -> dict[str, tuple[str, list[str]]]:
    """Version and hashes of each pinned requirement, by name."""
    lines = PINNED.read_text() + PINNED_GPU.read_text() + PINNED_CLUSTER.read_text()
    entries = re.findall(r"^(\S+)==(\S+) \\\n((?: {4}--hash=\S+(?: \\)?\n)+)", lines, re.MULTILINE)
    return {name: (version, re.findall(r"--hash=(\S+)", hashes)) for name, version, hashes in entries}


@pytest.mark.parametrize("file", [PINNED, PINNED_GPU, PINNED_CLUSTER], ids=lambda file: file.name)
def test_every_line_of_the_requirements_is_a_version_or_a_hash(file: Path) -> None:
    """No option, no index, no path, no address; a comment has the command that made the file."""
    lines = file.read_text().splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"#.*|[a-z0-9-]+==[\w.]+ \\| {4}--hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert not re.search(r"://|index|find-links", file.read_text())


def requirements(*extras: str) -> list[Requirement]:
    """Return the requirements of these extras alone."""
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return [Requirement(line) for extra in extras for line in optional[extra]]


def direct_requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in project["dependencies"]] + requirements("demo", "gpu", "cluster")


def test_the_extra_for_a_gpu_is_the_cublas_that_ctranslate2_opens_and_nothing_else() -> None:
    """.ci/run resolves it with the index of packages."""
    [cublas] = requirements("gpu")
    assert cublas.name == "nvidia-cublas-cu12"
    versions = ("12.6.4.1", "12.8.4.1", "12.9.3.13", "13.0.0.19")
    assert list(cublas.specifier.filter(versions)) == ["12.8.4.1", "12.9.3.13"]
    # CTranslate2's packages for other platforms have no CUDA.
    for system, machine, needed in (("linux", "x86_64", True), ("linux", "aarch64", False), ("darwin", "arm64", False)):
        assert cublas.marker.evaluate({"sys_platform": system, "platform_machine": machine}) is needed
    assert [requirement.name for requirement in requirements("gpu-torch")] == ["torch"]


def test_the_extra_for_several_servers_is_asyncpg_which_a_plain_install_does_not_bring() -> None:
    assert [requirement.name for requirement in requirements("cluster")] == ["asyncpg"]
    needed = [Requirement(line) for line in importlib.metadata.requires("asyncpg") or []]
    assert [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})] == []
    assert not re.search("^asyncpg", PINNED.read_text(), re.MULTILINE)


@pytest.mark.parametrize("requirement", direct_requirements(), ids=str)
def test_each_direct_requirement_has_a_lower_bound_and_is_pinned_within_it(
    requirement: Requirement, pinned: dict[str, tuple[str, list[str]]]
) -> None:
    assert any(bound.operator in (">=", "==") for bound in requirement.specifier)
    version, hashes = pinned[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)
    assert hashes


def test_requirements_of_the_build_are_pinned_too(pinned: dict[str, tuple[str, list[str]]]) -> None:
    assert "setuptools" in pinned


BUILD = """
import sys
import setuptools.build_meta as backend
getattr(backend, sys.argv[1])(sys.argv[2])
"""
LEFT_BEHIND = shutil.ignore_patterns(
    *("__pycache__", ".git*", ".*_cache", ".hypothesis", ".venv", "*.egg-info", "build", "dist"),
    *("node_modules", ".coverage*"),
)
PARTS = ("livecaption", "static", "tests", "docs", "packaging", ".ci")


def build(what: str, source: Path, into: Path) -> Path:
    """Build with the setuptools that is installed: nothing is downloaded."""
    subprocess.run([sys.executable, "-c", BUILD, what, into], cwd=source, check=True, capture_output=True)
    [made] = into.iterdir()
    return made


def files(directory: Path, *parts: str) -> set[str]:
    found = [path for part in parts for path in (directory / part).rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix() for path in found}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: building writes beside the sources."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("build") / "checkout", ignore=LEFT_BEHIND))


@pytest.fixture(scope="module")
def unpacked(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    into = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("build_sdist", checkout, into)) as archive:
        archive.extractall(into, filter="data")
    [directory] = [path for path in into.iterdir() if path.is_dir()]
    return directory


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from the source distribution, which holds all that it takes."""
    return zipfile.ZipFile(build("build_wheel", unpacked, tmp_path_factory.mktemp("wheel")))


def test_the_source_distribution_has_everything_of_the_checkout(checkout: Path, unpacked: Path) -> None:
    top = {path.name for path in checkout.iterdir() if path.is_file() and path.name != ".gitignore"}
    assert {"CHANGES.md", "LICENSE", "README.md", "pyproject.toml", "ruff.toml", "setup.cfg", "setup.py"} <= top
    assert (files(checkout, *PARTS) | top) - files(unpacked, "") == set()


def test_the_wheel_has_the_package_and_its_pages_and_nothing_else(checkout: Path, wheel: zipfile.ZipFile) -> None:
    package, pages = files(checkout, "livecaption"), files(checkout, "static")
    installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert "livecaption/py.typed" in package
    assert "static/index.html" in pages
    assert installed == package | {f"livecaption/{name}" for name in pages}


def test_the_distribution_has_a_name_of_its_own_and_the_command_keeps_its_name(wheel: zipfile.ZipFile) -> None:
    [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    headers = email.message_from_bytes(wheel.read(metadata))
    assert (headers["Name"], headers["Version"]) == ("livecaption-server", livecaption.__version__)
    assert headers["License-Expression"] == "MIT"
    assert wheel.read(metadata.replace("METADATA", "entry_points.txt")).decode().splitlines() == [
        "[console_scripts]",
        "livecaption = livecaption.__main__:main",
    ]


def test_no_text_names_another_program_of_that_name_to_install() -> None:
    """On PyPI, `livecaption` belongs to somebody else."""
    wrong_name = re.compile(r"""\b(?:pip|pipx|tool) install\s+(?:-\S+\s+)*['"]?livecaption(?!-server)\b(?![./])""")
    assert wrong_name.search("pip install -U 'livecaption[demo]'")
    assert not wrong_name.search("pip install 'livecaption-server[demo]'")
    places = [*ROOT.glob("*.md")]
    for part in ("livecaption", "static", "docs", "packaging"):
        places += [path for path in (ROOT / part).rglob("*") if path.suffix in (".py", ".js", ".html", ".md", "")]
    assert [path for path in places if path.is_file() and wrong_name.search(path.read_text())] == []


def test_the_examples_wait_longer_than_the_server_is_silent() -> None:
    timeouts_s = [
        int(seconds)
        for path in PROXIES.iterdir()
        for seconds in re.findall(r"(?:read_timeout|send_timeout|client|server|tunnel) (\d+)s", path.read_text())
    ]
    assert len(timeouts_s) >= 10
    assert min(timeouts_s) > 2 * max(SocketLimits().heartbeat_s, HttpLimits().heartbeat_s)
