"""The open connections, by protocol."""

from dataclasses import dataclass

from livecaption.live.connections import Connections


@dataclass(frozen=True)
class Open:
    protocol: str


def test_a_connection_counts_while_it_is_open_and_its_protocol_for_ever() -> None:
    connections = Connections()
    one, other = Open("native"), Open("vosk")
    with connections.containing(one), connections.containing(other):
        assert set(connections) == {one, other}
        assert connections.n_open == {"native": 1, "vosk": 1}
    assert set(connections) == set()
    assert connections.n_open == {"native": 0, "vosk": 0}
    assert connections.n_opened == {"native": 1, "vosk": 1}
