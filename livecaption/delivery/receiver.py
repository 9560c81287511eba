"""The other end of a sink, as the sink sees it, and the session of HTTP that reaches it."""

from http import HTTPStatus
from typing import Protocol

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, DummyCookieJar, TCPConnector

from livecaption.delivery.names import Names
from livecaption.delivery.outgoing import Numbered

TIMEOUT_S = 5.0
"""Time that one attempt may take. Longer: captions behind a stuck one are late. Shorter: distant receivers fail."""


class DeliveryFailed(Exception):
    """An attempt has failed. The message is for people, and has no address, no secret and no caption.

    Attributes:
        may_have_arrived: whether the receiver may have the text all the same.
    """

    def __init__(self, problem: str, *, may_have_arrived: bool) -> None:
        super().__init__(problem)
        self.may_have_arrived = may_have_arrived


class Receiver(Protocol):
    """A service that takes texts, one after the other."""

    async def first_seq(self) -> int:
        """Return the number of the next text.

        Raises:
            DeliveryFailed: it is unknown now.
        """

    async def deliver(self, text: Numbered) -> None:
        """Send a text.

        Raises:
            DeliveryFailed: the receiver does not have it, or it is not known whether it has.
        """

    async def close(self) -> None:
        """End the connection."""


def client_session() -> ClientSession:
    """Return what sends to receivers. It verifies certificates, keeps no cookies, and follows no redirects."""
    connector = TCPConnector(resolver=Names())
    return ClientSession(connector=connector, cookie_jar=DummyCookieJar(), middlewares=(_refuse_redirects,))


async def _refuse_redirects(request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
    """Treat a redirect as a failure, also that of a WebSocket: the operator did not name where it leads."""
    response = await send(request)
    if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
        response.close()
        raise DeliveryFailed(f"HTTP {response.status}: redirects are not followed", may_have_arrived=False)
    return response
