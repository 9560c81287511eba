"""Each protocol can be switched off, and refuses in its own shape what it does not have here."""

import pytest

from livecaption.server.config import PROTOCOLS, ServerConfig
from livecaption.server.protocols import HANDLERS, REFUSALS, ROUTES, routes_of
from tests.support.serving import Client, StartServer


def test_only_known_protocols_have_routes() -> None:
    assert set(ROUTES) <= set(PROTOCOLS)


def test_the_routes_are_those_of_the_protocols_that_are_spoken() -> None:
    assert routes_of(()) == []
    assert [route.path for route in routes_of(("native", "wyoming"))] == ["/v1/stream"]
    assert [route.path for route in routes_of(("openai",))] == ["/v1/realtime"]


def test_all_protocols_are_spoken_on_this_machine_and_only_the_native_one_beyond_it() -> None:
    assert ServerConfig().spoken_protocols == PROTOCOLS
    assert ServerConfig(host="unix:/run/livecaption").spoken_protocols == PROTOCOLS
    assert ServerConfig(host="0.0.0.0").spoken_protocols == ("native",)
    assert ServerConfig(host="0.0.0.0", protocols=("vosk",)).spoken_protocols == ("vosk",)


def test_clients_at_the_root_speak_a_protocol_that_is_spoken() -> None:
    assert [route.path for route in routes_of(("vosk",))] == ["/vosk", "/"]
    assert {route.path for route in routes_of(PROTOCOLS)} >= {"/whisperlive", "/ws", "/vosk", "/"}


def test_a_port_of_its_own_turns_a_protocol_on_beyond_this_machine_too() -> None:
    server = ServerConfig(host="0.0.0.0", insecure=True, wyoming_port=10_300, vosk_port=2700)
    assert server.spoken_protocols == ("native", "wyoming", "vosk")


def test_the_addresses_of_a_protocol_with_its_own_refusals_belong_to_it() -> None:
    for name, (places, _) in REFUSALS.items():
        paths = [*(route.path for route in ROUTES[name]), *(handler.path for handler in HANDLERS[name])]
        assert [path for path in paths if not path.startswith(places)] == []


@pytest.mark.server
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/audio/transcriptions", 405, "method_not_supported"),
        ("DELETE", "/v1/models/tiny.en", 405, "method_not_supported"),
        ("POST", "/v1/audio/speech", 404, "unknown_url"),
        ("POST", "/v1/realtime/sessions", 404, "unknown_url"),
    ],
)
async def test_openais_clients_get_an_error_that_they_can_read(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    async with client.request(method, path) as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"], error["type"]) == (status, code, "invalid_request_error")
        assert ("Allow" in response.headers) == (status == 405)
        assert response.headers["x-should-retry"] == "false"


@pytest.mark.server
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("PUT", "/v1/listen", 405, "METHOD_NOT_ALLOWED"), ("GET", "/v1/listen/else", 404, "NOT_FOUND")],
)
async def test_deepgrams_clients_get_an_error_that_they_can_read(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    async with client.request(method, path) as response:
        body = await response.json()
        assert (response.status, body["err_code"]) == (status, code)
        assert body["request_id"] == response.headers["dg-request-id"] == response.headers["X-Request-Id"]


@pytest.mark.server
async def test_addresses_of_no_protocol_and_of_one_that_is_off_are_refused_in_plain_text(
    start_server: StartServer,
) -> None:
    client = await start_server(protocols=("native", "deepgram"))
    for path in ("/v1/audio/transcriptions", "/v1/modelsand", "/v1/nothing", "/v1/listening"):
        async with client.get(path) as response:
            assert (response.status, response.content_type) == (404, "text/plain")
