"""The page's client of the protocol over a network that breaks: each sample arrives once."""

import asyncio
import base64
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Page

from livecaption.client import StreamSettings, connect
from livecaption.events import Final
from tests.browser.support import Launch, Serve, Server
from tests.support.relay import relay_to
from tests.support.speech import pcm_s16le, sound

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

RATE_HZ = 44_100  # a millisecond is no whole number of samples
TALK = pcm_s16le(sound("silence 300ms, speech 1300ms, silence 1200ms, speech 2100ms, silence 1200ms", RATE_HZ))
TALK_BASE64 = base64.b64encode(TALK).decode()

APART = {"nChannels": 1, "channel_mode": "separate", "speakers": True}
"""One channel whose speaker has a number without a model of voices."""

SPEAK = """
async ([talk, sampleRateHz, chunkSamples, options = { nChannels: 1 }]) => {
  const { CaptionStream } = await import('/static/stream.js');
  const bytes = Uint8Array.from(atob(talk), (character) => character.charCodeAt(0));
  const pcm = new Int16Array(bytes.buffer);
  const seen = { finals: [], changes: [], names: [], dropped_ms: 0 };
  let ready, ended;
  const started = new Promise((resolve) => (ready = resolve));
  const over = new Promise((resolve) => (ended = resolve));
  const stream = new CaptionStream({ token: '', sampleRateHz, language: null, ...options }, {
    received(event) {
      if (event.type === 'ready') ready();
      if (event.type === 'final') seen.finals.push([event.utterance, event.start_ms, event.end_ms]);
      if (event.type === 'name') seen.names.push([event.speaker, event.name]);
      if (event.type === 'end') ended(event.received_ms);
    },
    dropped: (ms) => (seen.dropped_ms += ms),
    lost: () => seen.changes.push('lost'),
    resumed: () => seen.changes.push('resumed'),
    closed: (code) => ended(`closed with ${code}`),
  });
  await started;
  window.stream = stream;
  const { nChannels } = options;
  for (let at = 0; at < pcm.length / nChannels; at += chunkSamples) {
    stream.sendAudio(pcm.slice(at * nChannels, (at + chunkSamples) * nChannels));
    document.title = String(at);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  stream.stop();
  seen.received_ms = await over;
  return seen;
}
"""

SPEAK_TO_A_SOCKET = """async ([state, nSeconds]) => {
  const { CaptionStream } = await import('/stream.js');
  const browsers = window.WebSocket;
  let socket;
  window.WebSocket = class {
    static OPEN = browsers.OPEN;
    constructor() { socket = this; }
    readyState = browsers.OPEN;
    bufferedAmount = 0;
    send() {}
    close() {}
  };
  let dropped_ms = 0;
  const ignore = () => {};
  const listener = { received: ignore, dropped: (ms) => (dropped_ms += ms), lost: ignore, closed: ignore };
  const stream = new CaptionStream({ token: '', sampleRateHz: 16000, language: null }, listener);
  window.WebSocket = browsers;
  socket.onopen();
  socket.onmessage({ data: JSON.stringify({ type: 'ready', received_ms: 0, resume_window_ms: 60_000 }) });
  Object.assign(socket, state);
  for (let n = 0; n < nSeconds; n++) stream.sendAudio(new Int16Array(16000));
  stream.close();
  return dropped_ms;
}"""
"""A script that speaks while the browser's socket is in a state, and returns how much sound is dropped."""


def in_channels(n_channels: int) -> bytes:
    """Return the talk in each of so many channels."""
    return np.repeat(np.frombuffer(TALK, "<i2"), n_channels).tobytes()


async def unbroken(server: Server, **settings: Any) -> list[list[int]]:
    async with connect(server.url, StreamSettings(sample_rate=RATE_HZ, partials=False, **settings)) as stream:
        await stream.send_audio(in_channels(settings.get("channels", 1)))
        await stream.stop()
        return sorted([[e.utterance, e.start_ms, e.end_ms] async for e in stream if isinstance(e, Final)])


@pytest.mark.parametrize(("seed", "n_channels"), [(0, 1), (1, 1), (2, 2)])
async def test_audio_over_a_network_that_breaks_arrives_once(
    scripted_server: Server, launch: Launch, seed: int, n_channels: int
) -> None:
    chance = random.Random(seed)
    browser = await launch()
    async with relay_to(scripted_server.url) as relay, await browser.new_page(bypass_csp=True) as page:
        await page.goto(f"{relay.url}healthz")
        await page.evaluate("import('/static/stream.js').then(() => null)")
        relay.breaks += [(chance.randrange(20_000, len(TALK) // 2), float("inf")) for _ in range(2)]
        talk = base64.b64encode(in_channels(n_channels)).decode()
        options = {"nChannels": n_channels}
        seen: dict[str, Any] = await page.evaluate(SPEAK, [talk, RATE_HZ, chance.randrange(441, 4410), options])
    assert seen["dropped_ms"] == 0
    assert seen["received_ms"] == len(TALK) // 2 * 1000 // RATE_HZ
    apart = {"channels": n_channels, "channel_mode": "separate"} if n_channels > 1 else {}
    assert sorted(seen["finals"]) == await unbroken(scripted_server, **apart)
    assert seen["changes"][:2] == ["lost", "resumed"]


async def test_a_server_that_is_killed_and_restarted_costs_and_doubles_no_word(
    scripted_server: Server, serve: Serve, launch: Launch, tmp_path: Path, unused_tcp_port: int
) -> None:
    flags = ("--engine", "scripted", "--port", str(unused_tcp_port), "--store", str(tmp_path / "transcripts.db"))
    server = await serve(*flags)
    browser = await launch()
    async with await browser.new_page(bypass_csp=True) as page:
        await page.goto(f"{server.url}healthz")
        speaking = asyncio.ensure_future(page.evaluate(SPEAK, [TALK_BASE64, RATE_HZ, 441]))
        await page.wait_for_function("Number(document.title) > 200_000")  # in the midst of the second utterance
        server.process.kill()
        await server.process.wait()
        await serve(*flags)
        seen = await speaking
    assert (seen["dropped_ms"], seen["changes"]) == (0, ["lost", "resumed"])
    assert seen["received_ms"] == len(TALK) // 2 * 1000 // RATE_HZ
    expected = await unbroken(scripted_server)
    assert [number for number, _, _ in seen["finals"]] == [number for number, _, _ in expected]
    for final, wanted in zip(seen["finals"], expected, strict=True):
        assert max(abs(final[1] - wanted[1]), abs(final[2] - wanted[2])) <= 60


async def test_speech_and_names_during_a_lost_connection_are_sent_when_it_is_back(
    scripted_server: Server, launch: Launch
) -> None:
    browser = await launch()
    async with relay_to(scripted_server.url) as relay, await browser.new_page(bypass_csp=True) as page:
        await page.goto(f"{relay.url}healthz")
        speaking = asyncio.ensure_future(page.evaluate(SPEAK, [TALK_BASE64, RATE_HZ, 441, APART]))
        await page.wait_for_function("Number(document.title) > 20_000")
        relay.cut()
        await page.wait_for_function("Number(document.title) > 120_000")
        await page.evaluate("stream.nameSpeaker(1, 'Grace'); stream.nameSpeaker(1, 'Ada')")
        relay.up = True
        seen = await speaking
    assert (seen["dropped_ms"], seen["changes"]) == (0, ["lost", "resumed"])
    assert seen["received_ms"] == len(TALK) // 2 * 1000 // RATE_HZ
    assert seen["names"] == [[1, "Ada"]]
    assert seen["finals"] == await unbroken(scripted_server)


@pytest.mark.parametrize(
    ("state", "n_seconds", "dropped_ms"),
    [
        ({"readyState": 2}, 60, 0),  # closing, which takes the browser seconds if the server's machine is busy
        ({"bufferedAmount": 1e9}, 10, 0),  # the network stands still: after 8 s the connection counts as lost
        ({"bufferedAmount": 1e9}, 13, 3000),
    ],
)
async def test_sound_that_cannot_be_sent_is_kept_until_the_connection_counts_as_lost(
    module_page: Page, state: dict[str, float], n_seconds: int, dropped_ms: int
) -> None:
    assert await module_page.evaluate(SPEAK_TO_A_SOCKET, [state, n_seconds]) == dropped_ms
