"""One decoder process, seen from the server: in each way that it may end, its stream gets an answer in time."""

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import psutil
import pytest

from livecaption.audio.container import decode_container
from livecaption.decoding.decoder import DecoderProcess
from livecaption.decoding.messages import Ended, Opened, Waits, encode
from livecaption.decoding.pool import ContainerDecoder, DecoderPool
from livecaption.errors import InvalidAudio, Unavailable
from tests.decoding.conftest import MakePool
from tests.support import deceiving_decoder
from tests.support.containers import Track, container, flac_of_silence, tone
from tests.support.eventually import TIMEOUT_FACTOR, eventually
from tests.support.streaming import JFK

pytestmark = pytest.mark.processes


async def decoded(decoder: ContainerDecoder, samples: list[np.ndarray] | None = None) -> np.ndarray:
    """Return all samples. The list also gets those from before an error."""
    samples = [] if samples is None else samples
    async with aclosing(decoder.samples()) as pieces:
        async for piece in pieces:
            samples.append(piece)
    return np.concatenate([np.empty(0, np.float32), *samples])


async def pushed(decoder: ContainerDecoder, data: bytes, chunk_bytes: int = 4000) -> None:
    for start in range(0, len(data), chunk_bytes):
        await decoder.push(data[start : start + chunk_bytes])
    decoder.finish()


@pytest.mark.parametrize("chunk_bytes", [501, 1_000_000])
async def test_a_container_gives_what_it_gives_in_this_process(pool: DecoderPool, chunk_bytes: int) -> None:
    decoder = ContainerDecoder(pool)
    data = JFK.read_bytes()
    _, samples = await asyncio.gather(pushed(decoder, data, chunk_bytes), decoded(decoder))
    assert np.array_equal(samples, np.concatenate(list(decode_container(io.BytesIO(data)))))
    assert decoder.opened is not None
    assert decoder.opened.duration_s == pytest.approx(11, abs=0.1)


async def test_a_file_may_be_read_anywhere(pool: DecoderPool, tmp_path: Path) -> None:
    """The index of the file may be at its end."""
    with JFK.open("rb") as file:
        samples = await decoded(ContainerDecoder(pool, file))
    assert len(samples) == 176_000


async def test_a_file_of_the_users_own_may_be_of_more_formats_than_one_of_a_stranger(
    pool: DecoderPool, tmp_path: Path
) -> None:
    """Its decoder has the same sandbox. The codecs of its formats must find all that they need inside."""
    for name, codec in (("flv", "aac"), ("vob", "ac3"), ("wv", "wavpack"), ("tta", "tta"), ("voc", "pcm_s16le")):
        rate_hz = 44_100 if name == "flv" else 48_000
        path = tmp_path / name
        path.write_bytes(container(name, [Track(tone(rate_hz, 2.0), codec, rate_hz)]))
        with path.open("rb") as file:
            samples = await decoded(ContainerDecoder(pool, file, from_stranger=False))
        assert len(samples) == pytest.approx(32_000, abs=2000)
        with path.open("rb") as file, pytest.raises(InvalidAudio):
            await decoded(ContainerDecoder(pool, file))
        decoder = ContainerDecoder(pool)
        pushing = asyncio.ensure_future(pushed(decoder, path.read_bytes()))
        with pytest.raises(InvalidAudio) as refusal:
            await decoded(decoder)
        assert refusal.value.code == "invalid_container"
        await pushing


async def test_a_film_with_subtitles_is_decoded(pool: DecoderPool) -> None:
    """PyAV loads the code for them when it needs it, and in the sandbox nothing can be loaded."""
    decoder = ContainerDecoder(pool)
    film = container("matroska", [Track(tone(duration_s=2.0))], picture=True, subtitles=True)
    _, samples = await asyncio.gather(pushed(decoder, film), decoded(decoder))
    assert len(samples) == 32_000


async def test_the_track_that_is_asked_for_is_decoded(pool: DecoderPool, tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    path.write_bytes(container("matroska", [Track(tone(duration_s=2.0)), Track(tone())]))
    for track, n_samples in ((None, 32_000), (1, 32_000), (2, 16_000)):
        with path.open("rb") as file:
            decoder = ContainerDecoder(pool, file, track)
            assert len(await decoded(decoder)) == n_samples
            assert decoder.opened is not None
            assert (decoder.opened.track, decoder.opened.n_tracks) == (track or 1, 2)


async def test_rubbish_is_refused_and_does_not_block_the_sender(pool: DecoderPool) -> None:
    decoder = ContainerDecoder(pool)
    pushing = asyncio.ensure_future(pushed(decoder, bytes(range(256)) * 20_000))
    with pytest.raises(InvalidAudio) as refusal:
        await decoded(decoder)
    assert (refusal.value.code, refusal.value.fatal) == ("invalid_container", True)
    await pushing


async def test_damage_is_reported_behind_all_that_could_be_decoded(pool: DecoderPool) -> None:
    decoder = ContainerDecoder(pool)
    pushing = asyncio.ensure_future(pushed(decoder, JFK.read_bytes()[:-1000]))
    samples: list[np.ndarray] = []
    with pytest.raises(InvalidAudio) as damage:
        await decoded(decoder, samples)
    assert (damage.value.code, damage.value.fatal) == ("truncated_audio", False)
    assert sum(map(len, samples)) > 160_000
    await pushing


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_process_that_dies_ends_its_stream_alone(
    pool: DecoderPool, number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    decoder, other = ContainerDecoder(pool), ContainerDecoder(pool)
    data = JFK.read_bytes()
    pushing = asyncio.ensure_future(decoder.push(data[:-1000]))
    decoding = asyncio.ensure_future(decoded(decoder, samples := []))
    await eventually(lambda: bool(samples))
    process = decoder._process.result()
    assert process is not None
    os.kill(process.pid, number)
    with pytest.raises(InvalidAudio) as death:
        await decoding
    assert death.value.code == "invalid_container"
    await pushing
    await decoder.push(data)  # later bytes are dropped
    assert f"was killed by {number.name}" in caplog.text
    _, samples = await asyncio.gather(pushed(other, data), decoded(other))
    assert len(samples) == 176_000


async def test_a_process_that_was_stopped_is_ended(make_pool: MakePool) -> None:
    process = await make_pool(silence_s=0.2).take()
    os.kill(process.pid, signal.SIGSTOP)
    await process.push(JFK.read_bytes())
    with pytest.raises(InvalidAudio):
        async for _ in process.messages():
            pass
    await asyncio.wait_for(process.gone, 5)


async def test_a_process_that_waits_for_its_client_is_left_alone(make_pool: MakePool) -> None:
    silence_s = 0.3 * TIMEOUT_FACTOR
    decoder = ContainerDecoder(make_pool(silence_s=silence_s))
    data = JFK.read_bytes()

    async def hesitate() -> None:
        await decoder.push(data[:5000])
        await asyncio.sleep(3 * silence_s)  # a process with bytes to decode would be ended after two of them
        await pushed(decoder, data[5000:])

    _, samples = await asyncio.gather(hesitate(), decoded(decoder))
    assert len(samples) == 176_000


async def test_a_bomb_waits_for_its_samples_to_be_taken(pool: DecoderPool) -> None:
    """With 6.8 h of silence in 40 KB, neither side holds more than the socket's buffer."""
    process = await pool.take()
    before_bytes = psutil.Process(process.pid).memory_info().rss
    await process.push(flac_of_silence(3000))
    process.finish()
    n_messages = 0
    async for message in process.messages():
        n_messages += not isinstance(message, Waits)
        if n_messages == 20:
            break
    await eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)
    assert psutil.Process(process.pid).memory_info().rss - before_bytes < 30e6
    process.end()


async def test_a_process_that_cannot_be_started_is_no_fault_of_the_client(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    n_before = psutil.Process().num_fds()
    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refuse)
    decoder = ContainerDecoder(pool)
    with pytest.raises(Unavailable):
        await decoded(decoder)
    await decoder.push(b"dropped")
    assert psutil.Process().num_fds() <= n_before  # sockets of the test before may close meanwhile


async def test_a_process_that_does_not_start_in_time_is_ended(make_pool: MakePool) -> None:
    pool = make_pool(start_timeout_s=0.001)
    with pytest.raises(Unavailable):
        await pool.take()
    await eventually(lambda: pool.pids == [])


async def test_a_silence_in_the_middle_of_a_frame_loses_nothing(make_pool: MakePool) -> None:
    """On a busy machine the rest of a frame may arrive later, and is read then."""
    process = await make_pool(silence_s=0.02, max_silences=10**6).take()
    process._reader = halves = asyncio.StreamReader()
    frame = encode(Opened(2.5)) + encode(Ended(None))
    halves.feed_data(frame[:7])
    asyncio.get_running_loop().call_later(0.1, halves.feed_data, frame[7:])
    assert [message async for message in process.messages()] == [Opened(2.5), Ended(None)]
    process.end()


async def test_a_decoder_that_sends_without_end_leaves_the_loop_to_others(pool: DecoderPool) -> None:
    """A decoder that was taken over may send frames without end."""
    process = await pool.take()
    flood = asyncio.StreamReader()
    flood.feed_data(encode(Waits(0)) * 1000 + encode(Ended(None)))
    process._reader = flood
    taking = asyncio.ensure_future(anext(aiter_of_ended(process)))
    n_turns = 0
    while not taking.done():
        await asyncio.sleep(0)
        n_turns += 1
    assert n_turns >= 1000
    process.end()


async def aiter_of_ended(process: DecoderProcess) -> AsyncIterator[Ended]:
    async for message in process.messages():
        if isinstance(message, Ended):
            yield message


async def test_bytes_behind_the_end_are_dropped(pool: DecoderPool, caplog: pytest.LogCaptureFixture) -> None:
    """A client may send more bytes after its container, also while the stream finishes."""
    process = await pool.take()
    await process.push(JFK.read_bytes())
    process.finish()
    await process.push(b"more")
    async for _ in process.messages():
        pass
    process.end()
    for _ in range(10):
        await process.push(b"more")
    await process.gone
    assert "socket.send() raised" not in caplog.text


async def test_a_process_that_only_seems_to_have_ended_is_not_waited_for() -> None:
    """The sentinel shows the end once a descriptor is closed, and waiting for the process would block the loop."""
    process = DecoderProcess(program=deceiving_decoder.__name__)
    with pytest.raises(Unavailable):
        await process.connect()
    await asyncio.wait_for(process.gone, 5 * TIMEOUT_FACTOR)


async def test_bytes_from_before_the_process_is_ready_are_decoded_though_none_follow(pool: DecoderPool) -> None:
    """The server may stop at that moment."""
    decoder = ContainerDecoder(pool)
    pushing = asyncio.ensure_future(decoder.push(JFK.read_bytes()))
    decoding = asyncio.ensure_future(decoded(decoder))
    await asyncio.sleep(0)
    decoder.finish()
    assert len(await decoding) == 176_000
    await pushing
