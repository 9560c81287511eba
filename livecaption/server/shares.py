"""Divide the settings of one server among its processes, so that all together do what the settings say."""

from dataclasses import replace

from livecaption.config import Config
from livecaption.ipc.config import EngineConfig
from livecaption.server.config import Place
from livecaption.workers.layout import ALL_GPUS, devices


def share(config: Config, place: Place, n_cores: int, n_gpus: int) -> Config:
    """Return the settings of one process.

    Streams, readers, inference processes and the cores of the CPU are divided; each process has at least one inference
    process. GPUs are dealt out; where they are fewer than the processes, several processes use one.

    Args:
        config: the settings of the server.
        place: the process.
        n_cores: processors that all processes may use together.
        n_gpus: GPUs that CUDA shows.

    Raises:
        ConfigError: all GPUs are asked for, and there is none.
    """
    server = config.server
    per_device = max(1, config.workers.per_device // place.n)
    return replace(
        config,
        server=replace(
            server,
            max_streams=None if server.max_streams is None else part(server.max_streams, place),
            max_readers=part(server.max_readers, place),
            process=place,
        ),
        engine=replace(
            config.engine,
            device=",".join(_devices(config.engine, place, n_gpus)),
            threads=config.engine.threads or max(1, n_cores // (place.n * per_device)),
        ),
        workers=replace(config.workers, per_device=per_device),
        log=replace(config.log, process=place.number),
    )


def part(number: int, place: Place) -> int:
    """Return the part of one process. The parts of all are as equal as possible, and make the whole."""
    return number // place.n + (place.number <= number % place.n)


def _devices(engine: EngineConfig, place: Place, n_gpus: int) -> list[str]:
    found = devices(ALL_GPUS if engine.device == "auto" and n_gpus > 1 else engine.device, n_gpus)
    return found[place.number - 1 :: place.n] or [found[(place.number - 1) % len(found)]]
