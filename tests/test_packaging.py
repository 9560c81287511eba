"""What is installed with livecaption: the systemd unit, and requirements that are pinned with their hashes."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from livecaption.server.config import ServerConfig

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "packaging" / "livecaption.service"
PINNED = ROOT / "packaging" / "requirements.txt"


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


def test_systemd_understands_the_unit(installed_unit: Path) -> None:
    verified = analyze("verify", "--recursive-errors=no", installed_unit)
    assert (verified.returncode, verified.stdout) == (0, "")


def test_the_unit_exposes_little(installed_unit: Path) -> None:
    """At most 2.0 of 10; 7.0 is what an unhardened unit of a dynamic user has."""
    assessed = analyze("security", "--offline=yes", "--threshold=20", installed_unit)
    assert assessed.returncode == 0, assessed.stdout


def test_the_unit_has_descriptors_for_all_readers() -> None:
    [limit] = settings("LimitNOFILE")
    assert int(limit) > 2 * ServerConfig().max_readers


def test_the_unit_lets_a_process_confine_itself_further() -> None:
    allowed, denied = settings("SystemCallFilter")
    assert {"@system-service", "seccomp"} <= set(allowed.split())
    assert denied == "~@privileged @resources"
    assert settings("SystemCallErrorNumber") == ["EPERM"]


@pytest.fixture(scope="module")
def pinned() -> dict[str, tuple[str, list[str]]]:
    """Version and hashes of each pinned requirement, by name."""
    entries = re.findall(r"^(\S+)==(\S+) \\\n((?: {4}--hash=\S+(?: \\)?\n)+)", PINNED.read_text(), re.MULTILINE)
    return {name: (version, re.findall(r"--hash=(\S+)", hashes)) for name, version, hashes in entries}


def test_every_line_of_the_requirements_is_a_version_or_a_hash() -> None:
    """No option, no index, no path, no address; a comment says how the file was made."""
    lines = PINNED.read_text().splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(r"#.*|[a-z0-9-]+==[\w.]+ \\| {4}--hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert not re.search(r"://|index|find-links", PINNED.read_text())


def direct_requirements() -> list[Requirement]:
    parser = configparser.ConfigParser(comment_prefixes="#")
    parser.read(ROOT / "setup.cfg")
    demo = parser["options.extras_require"]["demo"]
    lines = f"{parser['options']['install_requires']}\n{demo}".splitlines()
    return [Requirement(line) for line in lines if line]


@pytest.mark.parametrize("requirement", direct_requirements(), ids=str)
def test_each_direct_requirement_has_a_lower_bound_and_is_pinned_within_it(
    requirement: Requirement, pinned: dict[str, tuple[str, list[str]]]
) -> None:
    assert any(bound.operator in (">=", "==") for bound in requirement.specifier)
    version, hashes = pinned[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)
    assert hashes


def test_what_builds_livecaption_is_pinned_too(pinned: dict[str, tuple[str, list[str]]]) -> None:
    assert "setuptools" in pinned
