"""What the live sessions of one application share."""

from collections.abc import Callable
from dataclasses import dataclass

from livecaption.config import Config
from livecaption.decoding.pool import DecoderPool
from livecaption.live.registry import SessionRegistry
from livecaption.pipeline.latency import Latency
from livecaption.store.transcripts import TranscriptStore
from livecaption.workers.pool import WorkerPool


@dataclass(frozen=True, slots=True)
class Services:
    """Made by `build_app`; lives as long as the application."""

    config: Config
    pool: WorkerPool
    sessions: SessionRegistry
    decoders: DecoderPool
    store: TranscriptStore | None
    """None: nothing is kept."""
    on_latency: Callable[[Latency], None]
    """Called for each delay that a session has measured."""
