"""Choose the device of an engine and load its model, in the process that computes."""

from collections.abc import Callable
from dataclasses import replace

from livecaption.engine.engine import Engine
from livecaption.ipc.config import RAY, EngineConfig, gpus_by_ray


def settle_device(config: EngineConfig) -> tuple[EngineConfig, str]:
    """Return the settings with the one device that this process will use, and its name in the lock: see `ipc.locks`.

    Raises:
        EngineUnusable: there is no such device.
    """
    if gpus_by_ray(config.device) is not None:
        return config, RAY
    if config.engine == "scripted":
        return config, "cpu"
    from livecaption.engine.processor import tune_processor

    tune_processor(config.threads)
    from livecaption.engine.device import choose_device

    device = choose_device(config.device, config.compute_type)
    if device.gpu is None:
        return replace(config, device="cpu"), "cpu"
    return replace(config, device=f"cuda:{device.index}", threads=1), device.gpu.uuid


def prepare(config: EngineConfig) -> Callable[[], Engine]:
    """Find the model, and download it if necessary. Return the function that loads the engine and warms it up."""
    if config.engine == "scripted":
        from livecaption.engine.scripted import ScriptedEngine

        return lambda: ScriptedEngine(config.model, config.tracks, speakers=config.speakers)
    from livecaption.engine.models import find_model
    from livecaption.engine.voices import voices_of

    files = find_model(config.model)
    voices = voices_of(config)

    def load() -> Engine:
        from livecaption.engine.translators import with_tracks
        from livecaption.engine.whisper import load_engine

        engine = load_engine(
            files,
            config.device,
            config.compute_type,
            config.threads,
            full_context=config.full_context,
            voices=voices,
            calibrates=config.calibrates,
            is_replacement=config.is_replacement,
        )
        return with_tracks(engine, config) if config.tracks else engine

    return load
