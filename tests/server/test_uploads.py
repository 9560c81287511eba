"""Recordings that arrive in every wrong way. OpenAI's form and a plain body are received by the same code."""

import asyncio
import gzip
import io
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from livecaption import keys
from livecaption.keys import Key, Role
from livecaption.recordings.admission import MAX_ARRIVING, MAX_AT_A_TIME, MAX_WAITING
from livecaption.server.config import HttpLimits
from livecaption.server.keys import KEYS
from livecaption.server.services import SERVICES
from tests.support.eventually import eventually
from tests.support.recordings import ONE_UTTERANCE, SILENCE, recording
from tests.support.serving import Client, StartServer

PATH = "/v1/audio/transcriptions"
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
METRIC = "livecaption_recordings"
TAIL = b"\r\n--x--\r\n"
BODY = HEAD + recording() + TAIL


@asynccontextmanager
async def connection(
    client: Client, head: str, body: bytes = b"", path: str = PATH
) -> AsyncIterator[asyncio.StreamReader]:
    """Send a request by hand, and leave the connection open. Yield what the server answers."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    kind = "Content-Type: multipart/form-data; boundary=x"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n{head}\r\n\r\n".encode() + body)
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def answer_to(client: Client, head: str, body: bytes) -> tuple[bytes, bytes]:
    """Return the first line and the body of the answer."""
    async with connection(client, f"{head}\r\nConnection: close", body) as reader:
        first = await reader.readline()
        return first.strip(), (await reader.read()).partition(b"\r\n\r\n")[2]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let recordings be stored in a directory of their own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def files() -> list[str]:
    """Return the temporary files that are open in this process, also those without a name."""
    links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return [link for link in links if link.startswith(str(tempfile.tempdir))]


async def nothing_is_there(client: Client) -> None:
    services = client.app[SERVICES]
    await eventually(lambda: len(services.recordings) == 0 and services.decoders.pids == [] and files() == [])
    assert services.pool._sessions == {}


async def test_a_body_by_hand_is_transcribed(client: Client) -> None:
    first, body = await answer_to(client, f"Content-Length: {len(BODY)}", BODY)
    assert first == b"HTTP/1.1 200 OK"
    assert b"One two three" in body
    await nothing_is_there(client)


async def test_a_length_that_is_too_small_cuts_the_form_off(client: Client) -> None:
    first, _ = await answer_to(client, f"Content-Length: {len(BODY) // 2}", BODY)
    assert b" 400 " in first
    await nothing_is_there(client)


async def test_a_client_that_leaves_before_the_announced_length_leaves_nothing(client: Client) -> None:
    services = client.app[SERVICES]
    async with connection(client, f"Content-Length: {len(BODY) * 2}", BODY[:-20]):
        await eventually(lambda: len(services.recordings) == 1)
    await nothing_is_there(client)


@pytest.mark.parametrize(
    "start",
    [b"\n" * 5000, b"\r\n" * 5000, b"--y\r\n", b"x" * 5000, b"\r\n\r\n" + HEAD],
    ids=["line ends", "CRLF", "other boundary", "long line", "two lines"],
)
async def test_a_form_that_does_not_begin_with_its_boundary_is_refused_before_more_is_read(
    client: Client, start: bytes
) -> None:
    """aiohttp reads what is before the boundary, line by line and without a pause."""
    async with connection(client, "Content-Length: 5000000", start) as reader:
        assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
    await nothing_is_there(client)


async def test_a_form_may_begin_with_a_line_end(client: Client) -> None:
    body = b"\r\n" + BODY
    first, _ = await answer_to(client, f"Content-Length: {len(body)}", body)
    assert first == b"HTTP/1.1 200 OK"


async def test_nothing_may_be_between_the_parts_of_a_form(client: Client) -> None:
    start = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--xy'
    async with connection(client, "Content-Length: 5000000", start + 100_000 * b"\n") as reader:
        assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"


@pytest.mark.parametrize("headers", [b"X: " + b"x" * 3000 + b"\r\n", b"X: x\r\n" * 9], ids=["one that is long", "many"])
async def test_the_headers_of_a_part_have_limits(client: Client, headers: bytes) -> None:
    start = BODY.replace(b"\r\n", b"\r\n" + headers, 1)
    async with connection(client, "Content-Length: 5000000", start) as reader:
        assert await reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"


@pytest.mark.parametrize("path", [PATH, "/v1/listen"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity, gzip", "x-unknown"])
async def test_a_compressed_body_is_refused_before_it_is_read(client: Client, path: str, encoding: str) -> None:
    body = gzip.compress(b"\n" * 3_000_000)
    head = f"Content-Length: 5000000\r\nContent-Encoding: {encoding}"
    async with connection(client, head, body, path) as reader:
        answer = await reader.readuntil(b"}")
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"unsupported_content_encoding" in answer.lower()
    await nothing_is_there(client)


async def test_the_encoding_identity_is_none(client: Client) -> None:
    first, _ = await answer_to(client, f"Content-Length: {len(BODY)}\r\nContent-Encoding: Identity", BODY)
    assert first == b"HTTP/1.1 200 OK"


async def test_a_body_that_is_no_chunks_is_refused(client: Client) -> None:
    first, _ = await answer_to(client, "Transfer-Encoding: chunked", b"zz\r\n" + BODY)
    assert b" 400 " in first
    await nothing_is_there(client)


async def test_a_body_in_chunks_over_the_limit_is_refused_before_it_ends(start_server: StartServer) -> None:
    client = await start_server(max_upload_mb=1)
    chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
    first, body = await answer_to(client, "Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (len(HEAD), HEAD) + 2 * chunk)
    assert first.startswith(b"HTTP/1.1 413")
    assert b'"upload_too_large"' in body
    await nothing_is_there(client)


async def test_a_client_that_sends_nothing_more_is_refused(start_server: StartServer) -> None:
    for limits in (HttpLimits(upload_pause_s=0.2), HttpLimits(upload_timeout_s=0.2)):
        client = await start_server(http=limits)
        first, body = await answer_to(client, f"Content-Length: {len(BODY)}", BODY[:200])
        assert first == b"HTTP/1.1 408 Request Timeout"
        assert b'"upload_timeout"' in body
        await nothing_is_there(client)


async def test_a_client_without_a_key_is_refused_before_its_recording_is_read(start_server: StartServer) -> None:
    client = await start_server(token="0123456789abcdef")
    async with connection(client, "Content-Length: 100000000") as reader:
        assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"


async def test_more_recordings_than_there_are_places_are_refused(client: Client) -> None:
    services = client.app[SERVICES]
    async with asyncio.TaskGroup() as tasks:
        enough = asyncio.Event()

        async def hold() -> None:
            async with connection(client, f"Content-Length: {len(BODY)}", BODY[:100]):
                await enough.wait()

        for _ in range(MAX_AT_A_TIME + MAX_WAITING):
            tasks.create_task(hold())
        await eventually(lambda: len(services.recordings) == MAX_AT_A_TIME + MAX_WAITING)
        first, body = await answer_to(client, f"Content-Length: {len(BODY)}", BODY)
        enough.set()
    assert first == b"HTTP/1.1 503 Service Unavailable"
    assert b'"too_many_uploads"' in body
    await nothing_is_there(client)


@pytest.mark.parametrize("has_keys", [True, False], ids=["key", "address"])
async def test_a_client_that_sends_slowly_keeps_no_other_out(
    start_server: StartServer, tmp_path: Path, has_keys: bool
) -> None:
    """A client is a key, or an address if there are no keys."""
    client = await start_server(**with_keys(tmp_path) if has_keys else {"trusted_proxies": ("127.0.0.1",)})
    names = ("Authorization: Token slow-and-secret", "Authorization: Token fast-and-secret")
    slow, fast = names if has_keys else ("X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2")
    services = client.app[SERVICES]
    async with AsyncExitStack() as slow_ones:
        for _ in range(MAX_ARRIVING):
            head = f"Content-Length: {len(BODY)}\r\n{slow}"
            await slow_ones.enter_async_context(connection(client, head, BODY[:100]))
        await eventually(lambda: services.recordings._arriving.total() == MAX_ARRIVING)
        first, body = await answer_to(client, head, BODY)
        assert first == b"HTTP/1.1 429 Too Many Requests"
        assert b'"too_many_uploads"' in body
        first, _ = await answer_to(client, f"Content-Length: {len(BODY)}\r\n{fast}", BODY)
        assert first == b"HTTP/1.1 200 OK"
    await nothing_is_there(client)
    assert services.recordings._arriving == {}


def with_keys(tmp_path: Path, **limits: Any) -> dict[str, Any]:
    """Return the setting with a file of two keys."""
    file = tmp_path / "keys.toml"
    tokens = (b"slow-and-secret", b"fast-and-secret")
    made = [Key(token.decode()[:4], frozenset({Role.PUBLISH}), keys.hash_of(token), **limits) for token in tokens]
    file.write_text("\n".join(map(keys.as_toml, made)))
    return {"tokens": str(file)}


async def test_a_recording_ends_when_the_minutes_of_its_key_are_used_up(
    start_server: StartServer, tmp_path: Path
) -> None:
    client = await start_server(**with_keys(tmp_path, max_minutes_per_day=1))
    body = HEAD + recording(65 * SILENCE) + TAIL
    first, answer = await answer_to(
        client, f"Content-Length: {len(body)}\r\nAuthorization: Token slow-and-secret", body
    )
    assert (first, b'"insufficient_quota"' in answer) == (b"HTTP/1.1 429 Too Many Requests", True)
    used = [account.usage.today_ms(datetime.now(UTC)) for account in client.app[KEYS].in_use]
    assert 60_000 <= used[0] < 65_000
    await nothing_is_there(client)


async def test_the_audio_counts_for_the_key_but_takes_no_stream_of_it(
    start_server: StartServer, tmp_path: Path
) -> None:
    key = Key("uploads", frozenset({Role.PUBLISH}), keys.hash_of(b"0123456789abcdef"), max_streams=1)
    file = tmp_path / "keys.toml"
    file.write_text(keys.as_toml(key))
    client = await start_server(tokens=str(file))
    head = f"Content-Length: {len(BODY)}\r\nAuthorization: Token 0123456789abcdef"
    first, _ = await answer_to(client, head, BODY)
    assert first == b"HTTP/1.1 200 OK"
    account = client.app[KEYS].accounts.of(key)
    assert account.usage.today_ms(datetime.now(UTC)) == 2400
    assert account.n_streams == 0


@pytest.mark.parametrize("drain_timeout_s", [1.5, 20.0])
async def test_a_stop_answers_the_recordings_that_are_here(start_server: StartServer, drain_timeout_s: float) -> None:
    """A recording that is done within the time of the drain is answered, and others are refused."""
    client = await start_server("delay 2", drain_timeout_s=drain_timeout_s)
    services = client.app[SERVICES]
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(answer_to(client, f"Content-Length: {len(BODY)}", BODY))
        await eventually(lambda: services.pool.queue.in_flight == 1, within_s=20)
        await services.recordings.drain()
        first, body = await asking
    if drain_timeout_s > 2:
        assert first == b"HTTP/1.1 200 OK"
    else:
        assert (first, b'"draining"' in body) == (b"HTTP/1.1 503 Service Unavailable", True)
    first, body = await answer_to(client, f"Content-Length: {len(BODY)}", BODY)
    assert b'"draining"' in body


@pytest.mark.parametrize(("path", "protocol"), [(PATH, "openai"), ("/v1/listen", "deepgram")])
async def test_recordings_are_counted_by_protocol_and_refused_ones_by_code(
    start_server: StartServer, caplog: pytest.LogCaptureFixture, path: str, protocol: str
) -> None:
    caplog.set_level(logging.INFO, "livecaption.server.uploads")
    client = await start_server()

    def body(audio: bytes) -> dict[str, Any]:
        return {"data": audio} if protocol == "deepgram" else {"data": {"file": io.BytesIO(audio)}}

    async def figures() -> tuple[dict[str, Any], list[str]]:
        async with client.get("/v1/stats") as response:
            shown = (await response.json())["recordings"]
        async with client.get("/metrics") as response:
            return shown, [line for line in (await response.text()).splitlines() if line.startswith(METRIC)]

    assert await figures() == ({"here": {}, "accepted": {}, "failed": {}, "audio_s": {}}, [])
    async with client.post(path, **body(recording())) as response:
        assert response.status == 200
    async with client.post(path, **body(b"")) as response:
        assert response.status == 400
    async with client.post(path, headers={"Content-Encoding": "gzip"}, data=b"") as response:
        assert response.status == 415
    codes = {"empty_recording": 1, "unsupported_content_encoding": 1}
    length_s = len(ONE_UTTERANCE) / 2 / 16_000
    assert await figures() == (
        {
            "here": {protocol: 0},
            "accepted": {protocol: 2},
            "failed": {protocol: codes},
            "audio_s": {protocol: length_s},
        },
        [
            f'{METRIC}{{protocol="{protocol}"}} 0.0',
            f'{METRIC}_accepted_total{{protocol="{protocol}"}} 2.0',
            *(f'{METRIC}_failed_total{{code="{code}",protocol="{protocol}"}} 1.0' for code in codes),
            f'{METRIC}_audio_seconds_total{{protocol="{protocol}"}} {length_s}',
        ],
    )
    refused = [record for record in caplog.records if record.getMessage().startswith("a recording is refused")]
    assert [record.code for record in refused] == list(codes)  # type: ignore[attr-defined]


async def test_a_recording_that_is_here_is_counted(client: Client) -> None:
    counts = client.app[SERVICES].recordings.counts
    before = counts.n_accepted["openai"]
    async with connection(client, f"Content-Length: {len(BODY)}", BODY[:-20]):
        await eventually(lambda: counts.n_here["openai"] == 1)
    await nothing_is_there(client)
    assert (counts.n_here["openai"], counts.n_accepted["openai"]) == (0, before + 1)


async def test_a_key_that_is_missing_is_counted_and_logged_with_its_client(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = await start_server(token="s3cret")
    async with client.post(PATH, data={"file": io.BytesIO(recording())}) as response:
        assert response.status == 401
    assert client.app[SERVICES].recordings.counts.n_failed == {"openai": {"unauthorized": 1}}
    assert "a recording is refused" not in caplog.text  # but this is, with more:
    assert "refused: unauthorized for POST /v1/audio/transcriptions" in caplog.text
