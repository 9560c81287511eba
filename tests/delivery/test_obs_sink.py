"""Captions for OBS. tests/foreign/test_obs.py proves that its stand-in is a faithful one."""

from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livecaption.delivery import obs_sink
from livecaption.delivery.destination import Destination
from livecaption.delivery.lines import Text
from livecaption.delivery.obs_sink import ObsCaptionSink
from livecaption.delivery.outgoing import Numbered
from livecaption.delivery.receiver import DeliveryFailed, client_session
from tests.support.receivers import Obs

PASSWORD = "the password of an OBS"
MakeSink = Callable[..., ObsCaptionSink]


def numbered(*lines: str) -> Numbered:
    return Numbered(1, Text(lines, 0))


@pytest.fixture
async def obs() -> AsyncIterator[Obs]:
    running = await Obs(PASSWORD).start()
    yield running
    await running.close()


@pytest.fixture
async def sink_of() -> AsyncIterator[MakeSink]:
    async with client_session() as session:
        made = []

        def make(url: str, password: str = PASSWORD) -> ObsCaptionSink:
            made.append(ObsCaptionSink(session, Destination("obs", url, password)))
            return made[-1]

        yield make
        for sink in made:
            await sink.close()


async def test_captions_go_over_one_connection(obs: Obs, sink_of: MakeSink) -> None:
    sink = sink_of(obs.url)
    assert await sink.first_seq() == 1
    await sink.deliver(numbered("Grüße,", "alle"))
    await sink.deliver(numbered("Two."))
    assert obs.captions == ["Grüße,\nalle", "Two."]
    assert obs.n_connections == 1


async def test_a_connection_that_was_closed_is_made_again(obs: Obs, sink_of: MakeSink) -> None:
    sink = sink_of(obs.url)
    await sink.deliver(numbered("One."))
    await obs.disconnect()
    with pytest.raises(DeliveryFailed):
        await sink.deliver(numbered("Two."))
    await sink.deliver(numbered("Two."))
    assert obs.captions == ["One.", "Two."]


async def test_a_wrong_password_is_reported_without_it(obs: Obs, sink_of: MakeSink) -> None:
    with pytest.raises(DeliveryFailed, match=r"^the password of OBS is wrong$"):
        await sink_of(obs.url, "another one").deliver(numbered("One."))


async def test_an_obs_that_does_not_stream_has_not_shown_the_text(obs: Obs, sink_of: MakeSink) -> None:
    obs.streams = False
    sink = sink_of(obs.url)
    with pytest.raises(DeliveryFailed, match="does not stream") as failed:
        await sink.deliver(numbered("One."))
    assert not failed.value.may_have_arrived
    obs.streams = True
    await sink.deliver(numbered("One."))
    assert obs.captions == ["One."]


async def test_an_obs_that_is_not_there_is_reported(sink_of: MakeSink) -> None:
    obs = await Obs().start()
    url = obs.url
    await obs.close()
    with pytest.raises(DeliveryFailed, match=r"^it cannot be reached$") as failed:
        await sink_of(url).deliver(numbered("One."))
    assert not failed.value.may_have_arrived


@pytest.fixture
async def strange() -> AsyncIterator[TestServer]:
    """A server that is no OBS: it redirects, or accepts the WebSocket and sends nothing."""

    async def silent(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        return socket

    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/silent")

    app = web.Application()
    app.add_routes([web.get("/silent", silent), web.get("/redirect", elsewhere)])
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


async def test_a_redirect_is_not_followed(strange: TestServer, sink_of: MakeSink) -> None:
    with pytest.raises(DeliveryFailed, match="redirects are not followed"):
        await sink_of(str(strange.make_url("/redirect").with_scheme("ws"))).deliver(numbered("One."))


async def test_an_obs_that_is_silent_is_not_awaited_for_long(
    strange: TestServer, sink_of: MakeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obs_sink, "TIMEOUT_S", 0.2)
    with pytest.raises(DeliveryFailed, match="no answer"):
        await sink_of(str(strange.make_url("/silent").with_scheme("ws"))).deliver(numbered("One."))
