"""Each protocol can be switched off, and is counted."""

from livecaption.server.config import PROTOCOLS, ServerConfig
from livecaption.server.protocols import ROUTES, routes_of


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
