"""Send captions to a service by HTTP. `services` has what distinguishes them."""

import ssl

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    hdrs,
)
from yarl import URL

from livecaption.delivery.destination import Destination
from livecaption.delivery.outgoing import Numbered
from livecaption.delivery.receiver import TIMEOUT_S, DeliveryFailed
from livecaption.delivery.services import SERVICES, address_of, counter_of

MAX_NUMBER_BYTES = 20
"""The longest answer that is read: a number. Nothing else of an answer is read."""


class HttpCaptionSink:
    """One address of a service.

    Args:
        session: sends the requests.
        destination: the service and its address.
    """

    def __init__(self, session: ClientSession, destination: Destination) -> None:
        self._session = session
        self._destination = destination
        self._service = SERVICES[destination.service]

    async def first_seq(self) -> int:
        """Return the number of the next text; see `receiver.Receiver`."""
        if self._service.first_seq is not None:
            return self._service.first_seq
        response, body = await self._request(hdrs.METH_GET, counter_of(self._destination.url), b"", {})
        _check(response)
        if not body.strip().isdigit():
            raise DeliveryFailed("the number of the newest caption is missing in the answer", may_have_arrived=False)
        return int(body) + 1

    async def deliver(self, text: Numbered) -> None:
        """Send a text; see `receiver.Receiver`."""
        language = self._destination.language
        response, _ = await self._request(
            hdrs.METH_POST,
            address_of(self._destination.url, text.seq, self._service, language),
            self._service.body(text.text).encode(),
            {hdrs.CONTENT_TYPE: "text/plain; charset=utf-8", **self._service.headers(text.text, language)},
        )
        _check(response)

    async def close(self) -> None:
        """Do nothing: the connections belong to the session."""

    async def _request(
        self, method: str, address: str, body: bytes, headers: dict[str, str]
    ) -> tuple[ClientResponse, bytes]:
        """Send a request, and return the beginning of the answer.

        Raises:
            DeliveryFailed: there is no answer. It never quotes the error of aiohttp, which may have the address.
        """
        try:
            async with self._session.request(
                method,
                URL(address, encoded=True),
                data=body,
                headers=headers,
                timeout=ClientTimeout(total=TIMEOUT_S),
            ) as response:
                return response, await response.content.read(MAX_NUMBER_BYTES)
        except TimeoutError:
            raise DeliveryFailed(f"no answer within {TIMEOUT_S:.0f} s", may_have_arrived=True) from None
        except (ClientSSLError, ssl.SSLError):
            raise DeliveryFailed("its certificate cannot be trusted", may_have_arrived=False) from None
        except ClientConnectorError:
            raise DeliveryFailed("it cannot be reached", may_have_arrived=False) from None
        except (ClientError, OSError, ValueError):
            raise DeliveryFailed("the connection broke", may_have_arrived=True) from None


def _check(response: ClientResponse) -> None:
    """Raise DeliveryFailed unless the text was accepted. After an error of a proxy, it may have been."""
    if not 200 <= response.status < 300:
        may_have_arrived = response.status >= 500 or response.status == 408
        raise DeliveryFailed(f"HTTP {response.status}", may_have_arrived=may_have_arrived)
