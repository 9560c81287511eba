"""Texts by HTTP: what counts as taken, what as refused, and what is unknown. Errors have no address."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from livecaption.delivery import http_sink
from livecaption.delivery.destination import Destination
from livecaption.delivery.http_sink import HttpCaptionSink
from livecaption.delivery.lines import Text
from livecaption.delivery.outgoing import Numbered
from livecaption.delivery.receiver import DeliveryFailed, client_session
from tests.support.certificates import Authority
from tests.support.receivers import LOST, STUCK, CaptionReceiver

TEXT = Numbered(5, Text(("Grüße,", "alle"), 0))


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with client_session() as made:
        yield made


async def failure(sink: HttpCaptionSink) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as failed:
        await sink.deliver(TEXT)
    assert "signature" not in str(failed.value)
    assert "127.0.0.1" not in str(failed.value)
    return failed.value


async def test_a_text_is_plain_text_at_the_address_with_its_number(
    session: ClientSession, receiver: CaptionReceiver
) -> None:
    await HttpCaptionSink(session, Destination("zoom", receiver.url)).deliver(TEXT)
    query = {"id": "1", "signature": "a/b", "seq": "5", "lang": "en-US"}
    assert receiver.posts == [(query, "Grüße,\nalle")]
    assert receiver.headers[0]["Content-Type"] == "text/plain; charset=utf-8"


async def test_zoom_is_asked_for_its_newest_number(session: ClientSession, receiver: CaptionReceiver) -> None:
    receiver.newest_seq = 41
    assert await HttpCaptionSink(session, Destination("zoom", receiver.url)).first_seq() == 42


@pytest.mark.parametrize("answer", [404, "no number", ""])
async def test_an_answer_without_a_number_is_a_failure(
    session: ClientSession, receiver: CaptionReceiver, answer: Any
) -> None:
    if isinstance(answer, int):
        receiver.always = answer
    else:
        receiver.newest_seq = answer
    with pytest.raises(DeliveryFailed):
        await HttpCaptionSink(session, Destination("zoom", receiver.url)).first_seq()


@pytest.mark.parametrize("case", [(400, False), (403, False), (429, False), (408, True), (500, True), (503, True)])
async def test_an_error_of_the_service_is_named_by_its_status(
    session: ClientSession, receiver: CaptionReceiver, case: tuple[int, bool]
) -> None:
    """A text that a proxy answers with 5xx may have arrived."""
    receiver.always, may_have_arrived = case
    failed = await failure(HttpCaptionSink(session, Destination("youtube", receiver.url)))
    assert (str(failed), failed.may_have_arrived) == (f"HTTP {receiver.always}", may_have_arrived)


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_redirect_is_not_followed(session: ClientSession, receiver: CaptionReceiver, status: int) -> None:
    receiver.always = status
    failed = await failure(HttpCaptionSink(session, Destination("youtube", receiver.url)))
    assert "redirects are not followed" in str(failed)
    assert receiver.n_elsewhere == 0


async def test_a_connection_that_breaks_leaves_the_text_unknown(
    session: ClientSession, receiver: CaptionReceiver
) -> None:
    receiver.always = LOST
    assert (await failure(HttpCaptionSink(session, Destination("youtube", receiver.url)))).may_have_arrived


async def test_an_answer_that_does_not_come_is_not_awaited_for_long(
    session: ClientSession, receiver: CaptionReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_sink, "TIMEOUT_S", 0.2)
    receiver.always = STUCK
    assert (await failure(HttpCaptionSink(session, Destination("youtube", receiver.url)))).may_have_arrived


async def test_a_receiver_that_is_down_has_not_got_the_text(session: ClientSession) -> None:
    receiver = await CaptionReceiver().start()
    url = receiver.url
    await receiver.close()
    failed = await failure(HttpCaptionSink(session, Destination("youtube", url)))
    assert (str(failed), failed.may_have_arrived) == ("it cannot be reached", False)


async def test_a_certificate_that_is_not_trusted_gets_no_text(session: ClientSession, tmp_path: Path) -> None:
    context = Authority().server(tmp_path, "127.0.0.1")
    assert isinstance(context, ssl.SSLContext)
    receiver = await CaptionReceiver().start(scheme="https", ssl=context)
    failed = await failure(HttpCaptionSink(session, Destination("youtube", receiver.url)))
    assert (str(failed), failed.may_have_arrived) == ("its certificate cannot be trusted", False)
    assert receiver.posts == []
    await receiver.close()
