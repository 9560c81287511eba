"""The connections that wait for their first message."""

import pytest

from livecaption.errors import Unavailable
from livecaption.live.lobby import Lobby


def test_a_place_is_free_again_once_its_connection_has_left() -> None:
    lobby = Lobby(max_connections=1)
    with lobby.waiting():
        assert len(lobby) == 1
        with pytest.raises(Unavailable), lobby.waiting():
            pass
    with lobby.waiting():
        pass
    assert len(lobby) == 0
