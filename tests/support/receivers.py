"""Services that take captions: one by HTTP, which fails on command, and OBS with its WebSocket."""

import asyncio
import base64
import hashlib
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

STUCK = 0
"""Instead of a status: the answer does not come."""
LOST = -1
"""Instead of a status: the text is taken, and the connection breaks before the answer."""


class CaptionReceiver:
    """Takes captions like Zoom, YouTube and StreamText, and checks their numbers.

    Attributes:
        posts: all requests with a caption: path, query and body.
        accepted: the bodies that it took, by their number.
        outcomes: statuses of the next answers, instead of 200.
        always: the status of all other answers.
        newest_seq: what it answers to a client that asks for the newest number.
    """

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], str]] = []
        self.headers: list[dict[str, str]] = []
        self.accepted: dict[int, str] = {}
        self.outcomes: deque[int] = deque()
        self.always = 200
        self.newest_seq = 0
        self.n_asked = 0
        self.n_elsewhere = 0
        self._took = asyncio.Event()
        self._server: TestServer

    async def start(self, **settings: Any) -> "CaptionReceiver":
        app = web.Application()
        app.router.add_get("/closedcaption/seq", self._newest)
        app.router.add_post("/closedcaption", self._take)
        app.router.add_route("*", "/elsewhere", self._elsewhere)
        self._server = TestServer(app, **settings)
        await self._server.start_server()
        return self

    async def close(self) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        return str(self._server.make_url("/closedcaption?id=1&signature=a%2Fb"))

    @property
    def texts(self) -> list[str]:
        """The accepted bodies, in the order of their numbers."""
        return [self.accepted[seq] for seq in sorted(self.accepted)]

    async def took(self, n: int, within_s: float = 20.0) -> None:
        """Wait until this number of texts was accepted."""
        async with asyncio.timeout(within_s):
            while len(self.accepted) < n:
                await self._took.wait()

    async def _newest(self, _: web.Request) -> web.Response:
        self.n_asked += 1
        return self._answer(self._outcome(), str(self.newest_seq))

    async def _elsewhere(self, _: web.Request) -> web.Response:
        self.n_elsewhere += 1
        return web.Response()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.posts.append((dict(request.query), body))
        self.headers.append(dict(request.headers))
        outcome = self._outcome()
        if outcome == STUCK:
            await asyncio.sleep(60)
        if outcome in (200, LOST):
            seq = int(request.query["seq"])
            assert self.accepted.setdefault(seq, body) == body, "two texts have one number"
            self._took.set()
            self._took.clear()
        if outcome == LOST:
            request.transport.abort()
        return self._answer(outcome, "")

    def _outcome(self) -> int:
        return self.outcomes.popleft() if self.outcomes else self.always

    def _answer(self, status: int, text: str) -> web.Response:
        if 300 <= status < 400:
            return web.Response(status=status, headers={"Location": "/elsewhere"})
        return web.Response(status=max(status, 200), text=text)


@asynccontextmanager
async def receiving(**settings: Any) -> AsyncIterator[CaptionReceiver]:
    """Run a receiver."""
    running = await CaptionReceiver().start(**settings)
    try:
        yield running
    finally:
        await running.close()


@pytest.fixture
async def receiver() -> AsyncIterator[CaptionReceiver]:
    async with receiving() as running:
        yield running


class Obs:
    """An OBS with its obs-websocket 5.

    Attributes:
        captions: the texts that it was given while it streams.
        streams: whether it streams; a caption is refused otherwise.
        n_connections: clients that have connected so far.
    """

    def __init__(self, password: str = "") -> None:
        self.password = password
        self.captions: list[str] = []
        self.streams = True
        self.n_connections = 0
        self._took = asyncio.Event()
        self._sockets: set[web.WebSocketResponse] = set()
        self._server: TestServer

    async def start(self, port: int | None = None) -> "Obs":
        app = web.Application()
        app.router.add_get("/", self._serve)
        self._server = TestServer(app, port=port)
        await self._server.start_server()
        return self

    async def close(self) -> None:
        await self.disconnect()
        await self._server.close()

    async def disconnect(self) -> None:
        """Close the connections of all clients, as a restart does."""
        for socket in list(self._sockets):
            await socket.close(code=1001)

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def took(self, n: int, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while len(self.captions) < n:
                await self._took.wait()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        self.n_connections += 1
        socket = web.WebSocketResponse(protocols=("obswebsocket.json",))
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await self._talk(socket)
        finally:
            self._sockets.discard(socket)
        return socket

    async def _talk(self, socket: web.WebSocketResponse) -> None:
        hello: dict[str, Any] = {"obsWebSocketVersion": "5.5.2", "rpcVersion": 1}
        salt, challenge = secrets.token_urlsafe(), secrets.token_urlsafe()
        if self.password:
            hello["authentication"] = {"salt": salt, "challenge": challenge}
        await socket.send_json({"op": 0, "d": hello})
        identify = await socket.receive()
        if identify.type is not WSMsgType.TEXT:
            return
        given = json.loads(identify.data)["d"]
        if self.password and given.get("authentication") != _hash(_hash(self.password + salt) + challenge):
            await socket.close(code=4009, message=b"Authentication failed.")
            return
        await socket.send_json({"op": 2, "d": {"negotiatedRpcVersion": given["rpcVersion"]}})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_json({"op": 7, "d": self._response(json.loads(message.data)["d"])})

    def _response(self, request: dict[str, Any]) -> dict[str, Any]:
        kind = request["requestType"]
        answer: dict[str, Any] = {"requestType": kind, "requestId": request["requestId"]}
        status: dict[str, Any] = {"result": True, "code": 100}
        if kind == "GetVersion":
            answer["responseData"] = {"obsVersion": "31.0.0", "obsWebSocketVersion": "5.5.2", "rpcVersion": 1}
        elif kind != "SendStreamCaption":
            status = {"result": False, "code": 204, "comment": "Your request type is not valid."}
        elif not self.streams:
            status = {"result": False, "code": 501}
        else:
            self.captions.append(request["requestData"]["captionText"])
            self._took.set()
            self._took.clear()
        return answer | {"requestStatus": status}


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
