"""The server passes these settings to the child processes that it starts."""

from dataclasses import dataclass

from livecaption.errors import ConfigError

RAY = "ray"
"""The device that is a GPU of a Ray cluster."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The settings of one inference process: its model, and the device it computes on.

    Attributes:
        engine: `whisper`, or `scripted` (deterministic answers without a model, for tests).
        model: a directory, the name of an installed model package, or a name on the hub with an optional
            `@revision`. Empty: the embedded default. The scripted engine takes its script here.
        device: `auto`, `cpu`, `cuda`, `cuda:<index>`, `cuda:all` (each GPU), `ray` (a GPU of a Ray cluster) or
            `ray:<fraction>` (a share of one). Several devices, separated by commas, get a process each.
        compute_type: `auto` (int8 on the CPU, the fastest accurate one on a GPU) or a type of CTranslate2.
        threads: threads that compute on the CPU. 0: one per core, shared by the processes. On a GPU it is one.
        tracks: languages into which finals are translated; empty: into none.
        translation_model: directory of a translation model in CTranslate2's format; empty: Whisper translates into
            English.
        speakers: whether the voices of finals may be distinguished.
        speaker_model: a file with a network for voices; empty: the installed one.
        full_context: pad every window to 30 s before it is encoded. This is slower by a factor of three on a CPU.
        calibrates: time batches of several sizes before the process is ready. A process that starts once another was
            ready does not, because the server has measured enough, and streams wait.
        is_replacement: a process with these settings was ready before. So this one does not check the numbers of its
            GPU again, and compiles no kernels, which the driver keeps.
    """

    engine: str = "whisper"
    model: str = ""
    device: str = "auto"
    compute_type: str = "auto"
    threads: int = 0
    tracks: tuple[str, ...] = ()
    translation_model: str = ""
    speakers: bool = False
    speaker_model: str = ""
    full_context: bool = False
    calibrates: bool = True
    is_replacement: bool = False


def gpus_by_ray(device: str) -> float | None:
    """Return the share of a GPU that Ray is asked for: 1 for `ray`, 0.25 for `ray:0.25`; None for another device.

    Raises:
        ConfigError: it is no share of one GPU.
    """
    name, colon, share = device.partition(":")
    if name != RAY:
        return None
    try:
        found = float(share) if colon else 1.0
    except ValueError:
        found = 0.0
    if not 0.0 < found <= 1.0:
        raise ConfigError(f"--device {device}: the share of a GPU is over 0 and at most 1, such as ray:0.25")
    return found


@dataclass(frozen=True, slots=True)
class StaleConfig:
    """The fate of an inference process that an earlier server left on the device.

    Attributes:
        kill: end it.
        timeout_s: time that it gets to end.
    """

    kill: bool = False
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The settings of the log.

    Attributes:
        level: the lowest level that is logged: debug, info, warning or error.
        format: `text`, or `json`: one JSON object for each line.
        access: log a line for each request and each WebSocket, at the level info.
        process: the number of the process among several, which its lines have; 0: there is one, or it is the parent.
    """

    level: str = "info"
    format: str = "text"
    access: bool = False
    process: int = 0
