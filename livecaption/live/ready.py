"""The event `ready`, the first of every session."""

from livecaption.events import PROTOCOL_VERSION, Ready, RoomAccess
from livecaption.live.tokens import SessionTokens
from livecaption.pipeline.stream import StreamPipeline
from livecaption.recognition import ModelDescription
from livecaption.store.rows import NewSession


def ready_event(
    about: NewSession, pipeline: StreamPipeline, tokens: SessionTokens, resume_window_s: float, model: ModelDescription
) -> Ready:
    """Return the `ready` of a session, which has its tokens."""
    options = pipeline.options
    return Ready(
        pipeline.id,
        tokens.resume,
        PROTOCOL_VERSION,
        model.model,
        about.language,
        pipeline.received_ms,
        round(resume_window_s * 1000),
        options.private,
        tokens.reader,
        options.hotword_use,
        None if about.room is None else RoomAccess(about.room, tokens.reader),
        options.tracks or None,
        True if options.speakers else None,
    )
