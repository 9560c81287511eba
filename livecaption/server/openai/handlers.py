"""Handlers of OpenAI's routes for recordings."""

from collections.abc import Awaitable, Callable
from functools import wraps

from aiohttp import hdrs, web

from livecaption.captions.transcript import in_spoken_order
from livecaption.errors import LivecaptionError, UnknownModel
from livecaption.events import Final
from livecaption.live.dialects import openai_errors
from livecaption.recognition import ModelDescription, Task
from livecaption.server import auth, http
from livecaption.server.openai import answers, fields
from livecaption.server.sending import sent
from livecaption.server.services import SERVICES
from livecaption.server.uploads import uploading

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _in_openais_shape(handler: Handler) -> Handler:
    """Answer errors of a handler in OpenAI's shape."""

    @wraps(handler)
    async def answering(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except LivecaptionError as error:
            http.log_refusal(request, error)
            return http.answer(openai_errors.refusal(error))

    return answering


@_in_openais_shape
async def transcriptions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/audio/transcriptions`: transcribe a recording."""
    return await _transcribe(request, "transcribe")


@_in_openais_shape
async def translations(request: web.Request) -> web.StreamResponse:
    """`POST /v1/audio/translations`: transcribe a recording into English."""
    return await _transcribe(request, "translate")


@_in_openais_shape
async def models(request: web.Request) -> web.Response:
    """`GET /v1/models`: the loaded model."""
    return web.json_response(answers.models(_loaded(request)))


@_in_openais_shape
async def model(request: web.Request) -> web.Response:
    """`GET /v1/models/{model}`: the loaded model, under its own name."""
    loaded = _loaded(request)
    if request.match_info["model"] != loaded.model:
        raise UnknownModel(f"this server has the model {loaded.model}. Requests may name it as they like")
    return web.json_response(answers.model(loaded))


def _loaded(request: web.Request) -> ModelDescription:
    auth.check_access(request)
    services = request.app[SERVICES]
    services.sessions.check_loaded()
    assert services.pool.loaded is not None
    return services.pool.loaded


async def _transcribe(request: web.Request, task: Task) -> web.StreamResponse:
    response: web.StreamResponse | None = None
    spoken: list[Final] = []
    try:
        async with uploading(request, "openai") as upload:
            asked = fields.read(await upload.receive_form(), task)
            async with upload.transcribing(asked.options) as (recording, finals):
                async for final in finals:
                    if not final.text.strip():
                        continue
                    if asked.stream:
                        response = response or await _begin(request)
                        text = answers.delta(final, is_first=not spoken) + answers.segments(final)
                        await _send(request, response.write(text.encode()))
                    spoken.append(final)
            if not asked.stream:
                answer = answers.transcription(
                    asked.format, in_spoken_order(spoken), recording.duration_ms, task=task, words=asked.words
                )
                return http.answer(answer)
            response = response or await _begin(request)
            await _send(request, response.write(answers.done(spoken, recording.duration_ms).encode()))
    except LivecaptionError as error:
        if response is None:
            raise
        http.log_refusal(request, error)
        await _send(request, response.write(answers.late_failure(error).encode()))
    await _send(request, response.write_eof())
    return response


async def _send(request: web.Request, sending: Awaitable[None]) -> None:
    """Send a part of an answer.

    Raises:
        ConnectionResetError: the client has left, or did not read in time and is cut off.
    """
    if not await sent(request, sending, request.app[SERVICES].config.live.socket.send_timeout_s):
        raise ConnectionResetError("the client has left, or does not read")


async def _begin(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    return response
