"""Tests of a stream: scripts go in and outputs come out, without a loop, process or clock."""

import itertools
from collections.abc import Callable, Iterable

from livecaption.events import Event
from livecaption.pipeline.options import STREAM_START, ResumePoint, StreamOptions
from livecaption.pipeline.stream import Output, StreamPipeline
from livecaption.recognition import Hypothesis, RequestId, SessionId, Word
from livecaption.scheduling.load_control import ServiceLevel
from livecaption.scheduling.request import Request
from tests.support.speech import pcm_s16le, sound

TWO_UTTERANCES = "silence 400ms, speech 1000ms, silence 800ms, speech 1200ms, silence 900ms"
USUAL_LEVEL = ServiceLevel(partial_interval_ms=500, effort="reduced")
SPECULATIVE = ServiceLevel(partial_interval_ms=500, effort="full")


def new_stream(
    *,
    partials: bool = False,
    service_level: Callable[[], ServiceLevel] = lambda: USUAL_LEVEL,
    resume_point: ResumePoint = STREAM_START,
    **options: object,
) -> StreamPipeline:
    """Make a stream with these options. The ids of its requests count from 1."""
    ids = itertools.count(1)
    stream = StreamOptions(partials=partials, **options)
    return StreamPipeline(SessionId("s"), stream, service_level, lambda: RequestId(next(ids)), resume_point)


def chunks(script: str, chunk_ms: int = 100) -> Iterable[bytes]:
    """Return the bytes of a script, as a publisher would send them."""
    data = pcm_s16le(sound(script))
    step = chunk_ms * 32
    return (data[start : start + step] for start in range(0, len(data), step))


def feed(stream: StreamPipeline, script: str, now_s: float = 0.0) -> list[Output]:
    """Send a script all at once."""
    return [output for chunk in chunks(script) for output in stream.receive_audio(chunk, now_s)]


def requests(outputs: Iterable[Output]) -> list[Request]:
    """Return the requests among the outputs."""
    return [output for output in outputs if isinstance(output, Request)]


def events(outputs: Iterable[Output]) -> list[Event]:
    """Return the events among the outputs."""
    return [output for output in outputs if isinstance(output, Event)]


def hypothesis(text: str, *, suspicious: bool = False, words: tuple[Word, ...] = ()) -> Hypothesis:
    """Make an answer of the engine with high confidence."""
    return Hypothesis(text, "en", 0.9, 0.0, words, suspicious)
