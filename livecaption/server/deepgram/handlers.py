"""The handler of Deepgram's route for recordings."""

from datetime import UTC, datetime

from aiohttp import web

from livecaption.captions.transcript import in_spoken_order
from livecaption.errors import InvalidUpload, LivecaptionError
from livecaption.ipc import logs
from livecaption.live.dialects import deepgram_shapes as shapes
from livecaption.live.dialects.deepgram_query import recorded_options
from livecaption.server import http
from livecaption.server.deepgram import answers
from livecaption.server.services import SERVICES
from livecaption.server.uploads import uploading


async def listen(request: web.Request) -> web.Response:
    """`POST /v1/listen`: transcribe a recording."""
    try:
        return await _listen(request)
    except LivecaptionError as error:
        http.log_refusal(request, error)
        return http.answer(shapes.refusal(error, logs.request_id()))


async def _listen(request: web.Request) -> web.Response:
    created = datetime.now(UTC)
    async with uploading(request, "deepgram") as upload:
        options = recorded_options(list(request.query.items()))
        if request.content_type == "application/json":
            raise InvalidUpload("this server fetches no addresses: send the recording itself as the body")
        sha256 = await upload.receive()
        async with upload.transcribing(options.stream) as (recording, finals):
            spoken = [final async for final in finals]
    loaded = request.app[SERVICES].pool.loaded
    recorded = answers.Recorded(
        logs.request_id(),
        sha256,
        created,
        recording.duration_ms,
        recording.n_channels,
        shapes.Model(loaded.model if loaded is not None else "livecaption"),
    )
    return http.answer(answers.answer(recorded, in_spoken_order(spoken), options))
