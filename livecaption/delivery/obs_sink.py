"""Send captions to OBS Studio, which encodes them into its stream. `obs_messages` has the protocol."""

import asyncio
from contextlib import suppress

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, ClientWSTimeout, WSMsgType
from yarl import URL

from livecaption.delivery.destination import Destination
from livecaption.delivery.obs_messages import (
    SUBPROTOCOL,
    WRONG_PASSWORD,
    ObsRefusal,
    caption,
    check_identified,
    identify,
    is_accepted,
)
from livecaption.delivery.outgoing import Numbered
from livecaption.delivery.receiver import TIMEOUT_S, DeliveryFailed

MAX_MESSAGE_BYTES = 64 * 1024
"""Largest message from OBS. It sends no events, so its messages are short."""
CLOSE_TIMEOUT_S = 0.2
"""Time that OBS gets to close the connection. It is part of the time that a stop of the server takes."""


class ObsCaptionSink:
    """One OBS. The connection is made for the first text, and again when it is lost.

    Args:
        session: makes the connections.
        destination: the address and the password.
    """

    def __init__(self, session: ClientSession, destination: Destination) -> None:
        self._session = session
        self._destination = destination
        self._socket: ClientWebSocketResponse | None = None
        self._n_requests = 0

    async def first_seq(self) -> int:
        """Return 1: OBS does not count texts."""
        return 1

    async def deliver(self, text: Numbered) -> None:
        """Send a text; see `receiver.Receiver`."""
        is_sent = False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                socket = await self._connected()
                self._n_requests += 1
                request_id = str(self._n_requests)
                is_sent = True
                await socket.send_str(caption("\n".join(text.text.lines), request_id))
                while not is_accepted(await _received(socket), request_id):
                    pass
        except ObsRefusal as error:
            await self.close()
            raise DeliveryFailed(str(error), may_have_arrived=False) from None
        except (TimeoutError, ClientError, OSError, ValueError) as error:
            await self.close()
            why = f"no answer within {TIMEOUT_S:.0f} s" if isinstance(error, TimeoutError) else "it cannot be reached"
            raise DeliveryFailed(why, may_have_arrived=is_sent) from None

    async def close(self) -> None:
        """End the connection, if there is one."""
        socket, self._socket = self._socket, None
        if socket is not None:
            with suppress(ClientError, OSError):
                await socket.close()

    async def _connected(self) -> ClientWebSocketResponse:
        if self._socket is not None and not self._socket.closed:
            return self._socket
        socket = self._socket = await self._session.ws_connect(
            URL(self._destination.url, encoded=True),
            protocols=(SUBPROTOCOL,),
            max_msg_size=MAX_MESSAGE_BYTES,
            timeout=ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
        )
        await socket.send_str(identify(await _received(socket), self._destination.password))
        check_identified(await _received(socket))
        return socket


async def _received(socket: ClientWebSocketResponse) -> str:
    """Return the next message.

    Raises:
        ObsRefusal: the password is wrong.
        ConnectionError: the connection was closed.
    """
    message = await socket.receive()
    if message.type is not WSMsgType.TEXT:
        if socket.close_code == WRONG_PASSWORD:
            raise ObsRefusal("the password of OBS is wrong")
        raise ConnectionError
    text: str = message.data
    return text
