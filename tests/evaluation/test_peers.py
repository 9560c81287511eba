"""Clients without a library: their frames are those of the protocol."""

import pytest

from livecaption.evaluation.peers import BINARY, CONTINUATION, TEXT, frame, raw_peer, take_frame
from livecaption.evaluation.server_process import serving


def unmasked(opcode: int, payload: bytes) -> bytes:
    """Make a frame as a server sends it: without a mask and without the mask bit."""
    made = bytearray(frame(opcode, payload))
    del made[len(made) - len(payload) - 4 : len(made) - len(payload)]
    made[1] &= 127
    return bytes(made)


def test_a_frame_has_a_mask_that_leaves_the_payload_as_it_is() -> None:
    assert frame(TEXT, b"hello") == b"\x81\x85\0\0\0\0hello"
    assert frame(CONTINUATION, b"", is_last=False) == b"\x00\x80\0\0\0\0"


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536, 1_000_000])
def test_a_frame_of_any_length_is_taken_as_it_was_made(length: int) -> None:
    received = bytearray(unmasked(BINARY, b"x" * length) + unmasked(TEXT, b"next"))
    assert take_frame(received) == (BINARY, b"x" * length)
    assert take_frame(received) == (TEXT, b"next")
    assert received == b""


def test_nothing_is_taken_before_all_of_a_frame_has_come() -> None:
    whole = unmasked(TEXT, b"y" * 300)
    for n_bytes in range(len(whole)):
        received = bytearray(whole[:n_bytes])
        assert take_frame(received) is None
        assert received == whole[:n_bytes]


@pytest.mark.processes
async def test_a_peer_reads_events_one_after_the_other_and_the_code_of_the_close() -> None:
    async with serving("--store", "none") as server:
        url = await server.ready()
        async with raw_peer(url) as peer:
            await peer.send({"type": "start"})
            first = await anext(peer.events())
            await peer.send({"type": "ping", "id": 7})
            await peer.send({"type": "stop"})
            rest = [event async for event in peer.events()]
        assert first["type"] == "ready"
        assert [event["type"] for event in rest if event["type"] != "ack"] == ["pong", "end"]
        assert peer.close_code == 1000
        with pytest.raises(ConnectionError, match=r"no upgrade: HTTP/1\.1 404"):
            async with raw_peer(url, "v1/sessions/nobody/watch"):
                pass


@pytest.mark.processes
async def test_a_peer_that_ends_by_reset_sends_no_close() -> None:
    async with serving("--store", "none") as server:
        async with raw_peer(await server.ready()) as peer:
            await peer.send({"type": "start"})
            await anext(peer.events())
            peer.end_by_reset()
        await server.logged("lost its publisher")
