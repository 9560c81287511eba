"""A publisher and readers of a room, over real sockets."""

import asyncio
import json
from typing import Any

from aiohttp import ClientError, ClientWebSocketResponse, WSCloseCode, WSMsgType

from tests.support.serving import PAUSE, SPEECH, Client, read_event, read_to_the_close, read_until

NAME = "pycon"
SECRET = "the secret of a room"
TALK = SPEECH + PAUSE


async def enter(client: Client, name: str = NAME, secret: str = SECRET, **options: Any) -> ClientWebSocketResponse:
    """Ask to speak in a room, and do not wait for the answer. `in_address`: the address names the room too."""
    claim = {key: options.pop(key) for key in ("take_over", "former") if key in options}
    params = {"room": name} if options.pop("in_address", False) else {}
    socket = await client.ws_connect("/v1/stream", params=params)
    room = {"name": name, "secret": secret, **claim}
    await socket.send_json({"type": "start", "room": room, **options})
    return socket


async def put(client: Client, name: str = NAME, status: int = 200, **change: Any) -> dict[str, Any]:
    """Register a room, or change it; return the answer."""
    async with client.put(f"/v1/rooms/{name}", json={"secret": SECRET, **change}) as response:
        assert response.status == status, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def room_of(client: Client, name: str = NAME) -> dict[str, Any]:
    """Return the state of a room."""
    async with client.get(f"/v1/rooms/{name}") as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


class RoomReader:
    """Reads a room over a WebSocket like a page, and keeps what a person would see.

    Attributes:
        lines: the texts of finals by utterance, by session.
        states: the states of the room, as they changed.
        token: the reader token of the room, if it is private.
        cursor: the place from which to come back.
        n_snapshots: snapshots so far.
    """

    def __init__(self, client: Client, name: str = NAME, *, token: str = "", cursor: str = "") -> None:
        self._client = client
        self._name = name
        self.token = token
        self.lines: dict[str, dict[int, str]] = {}
        self.states: list[str] = []
        self.cursor = cursor
        self.n_snapshots = 0
        self.session = ""
        self.socket: ClientWebSocketResponse

    async def connect(self) -> "RoomReader":
        self.socket = await self._client.ws_connect(
            f"/v1/rooms/{self._name}/watch", params={"last_event_id": self.cursor, "reader_token": self.token}
        )
        return self

    async def next(self) -> dict[str, Any]:
        """Take the next event."""
        return self._take(await read_event(self.socket))

    async def run(self) -> None:
        """Read until the room has ended. Come back, like a page, when a server goes on elsewhere, or is dead."""
        close_code = None
        while close_code != WSCloseCode.OK:
            try:
                await self.connect()
            except ClientError:
                await asyncio.sleep(0.05)  # nobody answers at the moment
                continue
            while (message := await self.socket.receive(timeout=60)).type is WSMsgType.TEXT:
                self._take(json.loads(message.data))
            close_code = self.socket.close_code
            assert close_code in (WSCloseCode.OK, WSCloseCode.SERVICE_RESTART, WSCloseCode.ABNORMAL_CLOSURE)

    def _take(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["type"] == "room":
            assert "seq" not in event
            self.states.append(event["state"])
            return event
        if event["type"] == "snapshot":
            self.n_snapshots += 1
            self.session = event["session"]
            self.lines[self.session] = {final["utterance"]: final["text"] for final in event["finals"]}
            self.cursor = f"{event['epoch']}-{event['seq']}"
        else:
            self.cursor = f"{self.cursor.partition('-')[0]}-{event['seq']}"
        if event["type"] == "final":
            assert event["utterance"] not in self.lines[self.session], "a line came twice"
            self.lines[self.session][event["utterance"]] = event["text"]
        return event

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Take events up to one of this type with these values."""
        while (event := await self.next())["type"] != kind or not fields.items() <= event.items():
            pass
        return event

    @property
    def texts(self) -> dict[str, list[str]]:
        return {session: list(lines.values()) for session, lines in self.lines.items() if lines}


async def said(socket: ClientWebSocketResponse, audio: bytes) -> dict[str, Any]:
    """Say something, and return its final."""
    await socket.send_bytes(audio)
    return await read_until(socket, "final")


async def spoken(client: Client, n: int = 1, **options: Any) -> list[str]:
    """Speak a part of the room with this number of utterances, and return their texts."""
    end_room = options.pop("end_room", False)
    socket = await enter(client, **options)
    texts = [(await said(socket, TALK))["text"] for _ in range(n)]
    await socket.send_json({"type": "stop", "end_room": end_room})
    await read_to_the_close(socket)
    return texts
