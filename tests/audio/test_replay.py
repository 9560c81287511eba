"""After a lost connection or a crash of the server, all that the server lacks is sent again, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livecaption.audio.formats import AudioFormat
from livecaption.audio.replay import MAX_ACKNOWLEDGED_MS, ReplayBuffer

BYTES_PER_MS = 32


def kept(*sent: bytes | str) -> ReplayBuffer:
    buffer = ReplayBuffer(AudioFormat())
    for data in sent:
        buffer.push(data)
    return buffer


def test_acknowledged_audio_is_not_sent_again_to_a_server_that_lives() -> None:
    buffer = kept(b"a" * 320, b"b" * 320)
    buffer.acknowledge(10)
    assert buffer.n_unacknowledged_bytes == 320
    assert list(buffer.since(10)) == [b"b" * 320]


def test_acknowledged_audio_is_kept_for_a_crash_of_the_server() -> None:
    buffer = kept(b"a" * 320, b"b" * 320)
    buffer.acknowledge(20)
    assert list(buffer.since(0)) == [b"a" * 320, b"b" * 320]


def test_two_minutes_are_kept_of_acknowledged_audio() -> None:
    second = bytes(1000 * BYTES_PER_MS)
    buffer = kept(*(150 * [second]))
    assert buffer.begin_ms == 0
    buffer.acknowledge(145_000)
    assert buffer.begin_ms == 145_000 - MAX_ACKNOWLEDGED_MS
    assert buffer.n_unacknowledged_bytes == 5 * len(second)


def test_a_chunk_of_which_a_part_is_acknowledged_is_sent_again_from_there() -> None:
    assert list(kept(b"a" * 320, b"b" * 320).since(15)) == [b"b" * 160]


def test_acknowledged_audio_stays_acknowledged() -> None:
    buffer = kept(b"a" * 320)
    buffer.acknowledge(10)
    buffer.acknowledge(5)
    assert buffer.n_unacknowledged_bytes == 0


def test_more_than_was_sent_cannot_be_acknowledged() -> None:
    buffer = kept(b"a" * 320)
    buffer.acknowledge(10_000)
    assert (buffer.n_unacknowledged_bytes, list(buffer.since(10_000))) == (0, [])


def test_messages_are_sent_again_at_their_place_unless_audio_behind_them_has_arrived() -> None:
    sent = ("first", b"a" * 320, "second", b"b" * 320, "third")
    assert list(kept(*sent).since(0)) == list(sent)
    assert list(kept(*sent).since(10)) == ["second", b"b" * 320, "third"]
    assert list(kept(*sent).since(11)) == [b"b" * 288, "third"]


def test_a_message_that_was_answered_is_not_sent_again() -> None:
    buffer = kept(b"a" * 320, "flush", "stop")
    buffer.answered("flush")
    buffer.answered("never sent")
    assert list(buffer.since(10)) == ["stop"]


@pytest.mark.parametrize("audio_format", [AudioFormat("pcm_f32le", 44_100, 2), AudioFormat("mulaw", 11_025, 3)])
def test_audio_that_is_sent_again_begins_with_a_whole_sample(audio_format: AudioFormat) -> None:
    block = {"pcm_f32le": 8, "mulaw": 3}[audio_format.encoding]
    data = bytes(i % 251 for i in range(audio_format.sample_rate_hz * block))
    for received_ms in (1, 7, 333):
        buffer = ReplayBuffer(audio_format)
        buffer.push(data)
        position = received_ms * audio_format.sample_rate_hz // 1000 * block
        assert b"".join(buffer.since(received_ms)) == data[position:]


@given(st.integers(0, 60), st.sampled_from([AudioFormat("pcm_f32le", 8_000, 1), AudioFormat("mulaw", 11_025, 3)]))
def test_all_audio_from_begin_ms_on_is_there(forgotten_ms: int, audio_format: AudioFormat) -> None:
    """The pieces are cut within samples."""
    block = {"pcm_f32le": 4, "mulaw": 3}[audio_format.encoding]
    data = bytes(range(251)) * (audio_format.sample_rate_hz * block * 121 // 251)
    buffer = ReplayBuffer(audio_format)
    for at in range(0, len(data), 1997):
        buffer.push(data[at : at + 1997])
    buffer.acknowledge(MAX_ACKNOWLEDGED_MS + forgotten_ms)
    assert buffer.begin_ms <= forgotten_ms + 1
    position = buffer.begin_ms * audio_format.sample_rate_hz // 1000 * block
    assert b"".join(buffer.since(buffer.begin_ms)) == data[position:]


@given(st.lists(st.binary(max_size=200), max_size=20), st.lists(st.integers(0, 100), max_size=10))
def test_however_it_was_cut_and_acknowledged_the_rest_is_there(chunks: list[bytes], acks: list[int]) -> None:
    buffer = kept(*chunks)
    data = b"".join(chunks)
    for received_ms in acks:
        buffer.acknowledge(min(received_ms, len(data) // BYTES_PER_MS))
    newest = min(max(acks, default=0), len(data) // BYTES_PER_MS)
    assert b"".join(buffer.since(newest)) == data[newest * BYTES_PER_MS :]
    assert buffer.n_unacknowledged_bytes == len(data) - newest * BYTES_PER_MS
