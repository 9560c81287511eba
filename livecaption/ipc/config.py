"""What an inference process is to load: told to it by the server that starts it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What one inference process loads.

    Attributes:
        engine: `whisper`, or `scripted` (deterministic answers without a model, for tests).
        model: a directory, the name of an installed model package, or a hub name with or without `@` and a
            revision; empty: the embedded default. For the scripted engine: its script.
        device: `auto`, `cpu`, `cuda` or `cuda:<index>`; several, separated by commas, are loaded by a process each.
        compute_type: `auto` (int8 on the CPU, float16 on CUDA) or a type of CTranslate2.
        threads: threads that compute on the CPU; 0: one per core, shared by the processes.
        full_context: encode every window as 30 s, slower by a factor of three on a CPU.
    """

    engine: str = "whisper"
    model: str = ""
    device: str = "auto"
    compute_type: str = "auto"
    threads: int = 0
    full_context: bool = False
