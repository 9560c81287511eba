"""What is sent again after a broken connection: all that the server has not, and nothing that it has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio.formats import AudioFormat
from livecaption.audio.unacknowledged import Unacknowledged

BYTES_PER_MS = 32


def kept(*sent: bytes | str) -> Unacknowledged:
    unacknowledged = Unacknowledged(AudioFormat())
    for data in sent:
        unacknowledged.push(data)
    return unacknowledged


def test_everything_is_kept_until_it_is_acknowledged() -> None:
    unacknowledged = kept(b"a" * 320, b"b" * 320)
    unacknowledged.acknowledge(10)
    assert unacknowledged.n_bytes == 320
    assert list(unacknowledged.since(10)) == [b"b" * 320]


def test_a_chunk_of_which_a_part_is_acknowledged_is_sent_again_from_there() -> None:
    assert list(kept(b"a" * 320, b"b" * 320).since(15)) == [b"b" * 160]


def test_what_was_acknowledged_stays_so() -> None:
    unacknowledged = kept(b"a" * 320)
    unacknowledged.acknowledge(10)
    unacknowledged.acknowledge(5)
    assert list(unacknowledged.since(10)) == []


def test_more_than_was_sent_cannot_be_acknowledged() -> None:
    unacknowledged = kept(b"a" * 320)
    unacknowledged.acknowledge(10_000)
    assert (unacknowledged.n_bytes, list(unacknowledged.since(10_000))) == (0, [])


def test_messages_are_sent_again_at_their_place_unless_audio_behind_them_has_arrived() -> None:
    sent = ("first", b"a" * 320, "second", b"b" * 320, "third")
    assert list(kept(*sent).since(0)) == list(sent)
    assert list(kept(*sent).since(10)) == ["second", b"b" * 320, "third"]
    assert list(kept(*sent).since(11)) == [b"b" * 288, "third"]


def test_a_message_that_was_answered_is_not_sent_again() -> None:
    unacknowledged = kept(b"a" * 320, "flush", "stop")
    unacknowledged.answered("flush")
    unacknowledged.answered("never sent")
    assert list(unacknowledged.since(10)) == ["stop"]


@pytest.mark.parametrize("audio_format", [AudioFormat("pcm_f32le", 44_100, 2), AudioFormat("mulaw", 11_025, 3)])
def test_what_is_sent_again_begins_with_a_whole_sample(audio_format: AudioFormat) -> None:
    block = {"pcm_f32le": 8, "mulaw": 3}[audio_format.encoding]
    data = bytes(i % 251 for i in range(audio_format.sample_rate_hz * block))
    for received_ms in (1, 7, 333):
        unacknowledged = Unacknowledged(audio_format)
        unacknowledged.push(data)
        place = received_ms * audio_format.sample_rate_hz // 1000 * block
        assert b"".join(unacknowledged.since(received_ms)) == data[place:]  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=200), max_size=20), st.lists(st.integers(0, 100), max_size=10))
def test_however_it_was_cut_and_acknowledged_the_rest_is_there(chunks: list[bytes], acks: list[int]) -> None:
    unacknowledged = kept(*chunks)
    data = b"".join(chunks)
    for received_ms in acks:
        unacknowledged.acknowledge(min(received_ms, len(data) // BYTES_PER_MS))
    newest = min(max(acks, default=0), len(data) // BYTES_PER_MS)
    assert b"".join(unacknowledged.since(newest)) == data[newest * BYTES_PER_MS :]  # type: ignore[arg-type]
    assert unacknowledged.n_bytes <= len(data) - newest * BYTES_PER_MS + max(map(len, chunks), default=0)
