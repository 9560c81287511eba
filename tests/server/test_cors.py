"""Pages of allowed origins use the API; pages of all others, and the operator's own routes, stay apart."""

from typing import Any

from aiohttp import web

from livecaption.config import Config
from livecaption.server import build_app
from livecaption.server.config import ServerConfig
from livecaption.store.config import StoreConfig
from tests.support.serving import Client, StartServer, read_event

FRIEND = "https://friend.example"
OF_CORS = "Access-Control-Allow-Origin"


async def allowed(client: Client, path: str, origin: str = FRIEND, method: str = "GET", **headers: str) -> str | None:
    """Return the origin whose pages may read the answer."""
    answer = await client.request(method, path, headers={"Origin": origin, **headers})
    assert "Access-Control-Allow-Credentials" not in answer.headers
    return answer.headers.get(OF_CORS)


async def test_pages_of_an_allowed_origin_stream_and_read_what_is_streamed(start_server: StartServer) -> None:
    client = await start_server(allowed_origins=("HTTPS://Friend.example:443",))
    socket = await client.ws_connect("/v1/stream", headers={"Origin": FRIEND})
    await socket.send_json({"type": "start"})
    session = (await read_event(socket))["session"]
    of_session = ("", "/transcript.vtt", "/qr.svg")
    for path in (
        *("/v1/stream", "/v1/info", "/healthz", "/readyz", "/v1/rooms/hall", f"/v1/rooms/{session}"),
        *(f"/v1/sessions/{session}{part}" for part in of_session),
    ):
        answer = await client.get(path, headers={"Origin": FRIEND})
        assert (answer.headers.get(OF_CORS), answer.headers.get("Vary")) == (FRIEND, "Origin"), path
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    async with client.get(f"/v1/sessions/{session}/events", headers={"Origin": FRIEND}) as events:
        assert (events.status, events.headers.get(OF_CORS)) == (200, FRIEND)
    async with client.ws_connect(f"/v1/sessions/{session}/watch", headers={"Origin": FRIEND}) as reader:
        assert (await read_event(reader))["type"] == "snapshot"
    await socket.close()


async def test_no_other_origin_gets_a_header_of_cors(start_server: StartServer) -> None:
    client = await start_server(allowed_origins=(FRIEND,), public_url="https://public.example", wait=False)
    for origin in ("https://evil.example", "http://friend.example", "https://friend.example:8443", "null", "", "*"):
        assert await allowed(client, "/v1/info", origin) is None
        # A cache must not give this answer to a page that may read it.
        assert (await client.get("/v1/info", headers={"Origin": origin})).headers["Vary"] == "Origin"


async def test_without_allowed_origins_there_is_no_header_of_cors(start_server: StartServer) -> None:
    client = await start_server(wait=False)
    answer = await client.get("/v1/info", headers={"Origin": FRIEND})
    assert not {OF_CORS, "Vary"} & set(answer.headers)


async def test_options_names_the_methods_and_headers_that_a_page_may_send(start_server: StartServer) -> None:
    client = await start_server(allowed_origins=(FRIEND,), token="a-secret", wait=False)
    for path, methods in (
        ("/v1/stream", "GET, OPTIONS"),
        ("/v1/rooms/hall", "GET, HEAD, OPTIONS, PUT"),
        ("/v1/sessions/one", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/v1/sessions", "GET, HEAD, OPTIONS"),
    ):
        answer = await client.options(path, headers={"Origin": FRIEND, "Access-Control-Request-Method": "PUT"})
        assert (answer.status, answer.headers[OF_CORS]) == (204, FRIEND)
        assert answer.headers["Access-Control-Allow-Methods"] == answer.headers["Allow"] == methods
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
        assert int(answer.headers["Access-Control-Max-Age"]) > 0
    refusal = await client.options("/v1/stream", headers={"Origin": "https://evil.example"})
    assert (refusal.status, refusal.headers.get(OF_CORS)) == (403, None)


async def test_pages_of_the_server_have_no_cors(start_server: StartServer) -> None:
    client = await start_server(allowed_origins=(FRIEND,), wait=False)
    for path in ("/", "/watch/hall", "/sessions", "/stats", "/static/main.js"):
        assert await allowed(client, path) is None
        assert (await client.options(path, headers={"Origin": FRIEND})).status == 405


async def test_the_routes_of_the_operator_are_open_to_allowed_origins_only_with_the_token(
    start_server: StartServer,
) -> None:
    without = await start_server(allowed_origins=(FRIEND, "null"), wait=False)
    client = await start_server(allowed_origins=(FRIEND,), token="a-secret", wait=False)
    for path in ("/v1/sessions", "/v1/stats", "/metrics"):
        assert await allowed(without, path) is None
        assert await allowed(client, path, Authorization="Bearer a-secret") == FRIEND


async def test_a_page_of_an_allowed_origin_does_not_count_as_a_program_of_the_machine(
    start_server: StartServer, tmp_path: Any
) -> None:
    store = StoreConfig(str(tmp_path / "transcripts.db"))
    client = await start_server(allowed_origins=(FRIEND, "null"), store=store, wait=False)
    own = f"http://{client.host}:{client.port}"
    for origin, status in ((FRIEND, 403), ("null", 403), (own, 404)):
        answer = await client.delete("/v1/sessions/unknown", headers={"Origin": origin})
        assert answer.status == status
        assert (await answer.json())["code"] == ("local_only" if status == 403 else "unknown_session")


async def test_only_the_readers_page_can_be_embedded_and_only_where_it_is_allowed(start_server: StartServer) -> None:
    frames = ("https://event.example", "chrome-extension://abcdefghijklmnopabcdefghijklmnop")
    client = await start_server(allowed_frames=frames, wait=False)
    closed = "frame-ancestors 'none'"
    for path, directive in (
        ("/watch/hall", f"frame-ancestors {' '.join(frames)}"),
        *((path, closed) for path in ("/", "/sessions", "/stats", "/v1/rooms/hall/watch", "/static/main.js")),
    ):
        policy = (await client.get(path)).headers["Content-Security-Policy"]
        assert policy.endswith(f"; {directive}"), path
    policy = (await (await start_server(wait=False)).get("/watch/hall")).headers["Content-Security-Policy"]
    assert policy.endswith(closed)


async def test_an_application_that_is_mounted_has_cors_too(aiohttp_client: Any) -> None:
    outer = web.Application()
    outer.add_subapp("/captions", build_app(Config(server=ServerConfig(allowed_origins=(FRIEND,)))))
    client: Client = await aiohttp_client(outer)
    assert await allowed(client, "/captions/v1/info") == FRIEND
    assert await allowed(client, "/captions/v1/stream", method="OPTIONS") == FRIEND
