"""static/microphone.js and static/input.js open what is chosen, and leave nothing running."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.support import Server

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

BEGIN = """async () => {
  const { Input } = await import('/static/input.js');
  const context = new AudioContext();
  await context.audioWorklet.addModule('/static/capture-worklet.js');
  window.probes = [];
  const Node = AudioWorkletNode;
  window.capturing = (received) => {
    const node = new Node(context, 'capture');
    node.port.onmessage = received;
    node.connect(context.destination);
  };
  window.AudioWorkletNode = class extends Node {
    nChunks = 0;
    constructor(...options) {
      super(...options);
      this.port.addEventListener('message', () => (this.nChunks += 1));
      probes.push(this);
    }
  };
  window.input = new Input(context, () => {});
  window.open = (source) => {
    const processing = { echoCancellation: false, noiseSuppression: false, autoGainControl: true };
    return input.open({ source, ...processing }, new AbortController().signal);
  };
  window.sound = (peak, nChunks) => {
    for (let n = 0; n < nChunks; n += 1) input.watch({ rms: peak, peak, cancels: false });
  };
  await open('');
}"""
"""A script that opens the microphone, and gives the page `sound`: so many chunks with this peak come from it. `probes`
are the worklets that look at it once more, and `capturing` makes another worklet."""
WHAT_A_PROBE_SENDS = """() => new Promise((resolve) => {
  let nChunks = 0;
  let before = 0;
  capturing(() => {
    nChunks += 1;
    if (nChunks === 3) before = probes[0].nChunks;
    if (nChunks === 13) resolve(probes[0].nChunks - before);
  });
})"""
"""A script that returns how many chunks the first probe sends while another worklet sends ten."""
SWITCH = """async () => {
  const { Capture, listMicrophones } = await import('/static/microphone.js');
  const [slow, other] = (await listMicrophones()).map(({ deviceId }) => deviceId);
  const devices = navigator.mediaDevices;
  const opened = [];
  const ask = devices.getUserMedia.bind(devices);
  let answer;
  const answered = new Promise((resolve) => (answer = resolve));
  devices.getUserMedia = async (wishes) => {
    if (wishes.audio.deviceId?.exact === slow) await answered;
    const media = await ask(wishes);
    opened.push(media.getAudioTracks()[0]);
    return media;
  };
  const isLive = ({ readyState }) => readyState === 'live';
  const used = () => opened.filter(isLive).map((track) => track.getSettings().deviceId);
  const choose = (...sources) => capture.switchTo({ sources });
  const listener = { chunk: () => {}, ended: () => {}, suspended: () => {} };
  const capture = await Capture.open({ sources: ['', ''] }, listener);
  const former = used();
  STEPS
  answer();
  await late;
  return { slow, other, former, used: used(), nOpened: opened.length };
}"""
"""A script in which one of two microphones opens late."""
OPPOSITE_CHANNELS = """() => new Promise(async (resolve) => {
  const { Capture } = await import('/static/microphone.js');
  const context = new AudioContext();
  const media = (level) => {
    const channels = context.createChannelMerger(2);
    const sound = new OscillatorNode(context);
    for (const side of [0, 1]) {
      sound.connect(new GainNode(context, { gain: side ? -level : level })).connect(channels, 0, side);
    }
    sound.start();
    const output = new MediaStreamAudioDestinationNode(context, { channelCount: 2 });
    channels.connect(output);
    return output.stream;
  };
  navigator.mediaDevices.getUserMedia = async ({ audio }) => media(audio.autoGainControl ? 0 : 0.5);
  const chunk = ({ levels: [{ peak, cancels }] }) => peak > 0.4 && resolve(cancels);
  const choice = { sources: [''], echoCancellation: false, noiseSuppression: false, autoGainControl: true };
  await Capture.open(choice, { chunk, ended: () => {}, suspended: () => {} });
})"""
"""A script with a microphone whose channels are opposite: a browser that processes its sound gives silence. It returns
what is seen of the channels once there is sound."""


@pytest_asyncio.fixture(loop_scope="session")
async def page(speaking_browser: Browser, scripted_server: Server) -> AsyncIterator[Page]:
    """An empty page that may open microphones. A server has it, because `module_page` loads no worklets."""
    async with await speaking_browser.new_context(permissions=["microphone"]) as context:
        page = await context.new_page()
        await page.route(f"{scripted_server.url}empty", lambda route: route.fulfill(body=""))
        await page.goto(f"{scripted_server.url}empty")
        yield page


async def test_a_second_look_at_a_silent_microphone_runs_until_there_is_sound_and_not_longer(page: Page) -> None:
    await page.evaluate(BEGIN)
    await page.evaluate("sound(0, 50)")
    await page.wait_for_function("probes[0]?.nChunks > 0")
    assert await page.evaluate(WHAT_A_PROBE_SENDS) > 0
    await page.evaluate("sound(1, 1)")
    assert await page.evaluate(WHAT_A_PROBE_SENDS) == 0


async def test_another_microphone_that_is_silent_too_gets_a_second_look_of_its_own(page: Page) -> None:
    await page.evaluate(BEGIN)
    await page.evaluate("sound(0, 60)")
    await page.wait_for_function("probes.length === 1")
    await page.evaluate("open('default')")
    await page.evaluate("sound(0, 50)")
    await page.wait_for_function("probes.length === 2")


async def test_a_microphone_that_only_processing_silences_is_used_without_processing(page: Page) -> None:
    assert await page.evaluate(OPPOSITE_CHANNELS) is True


async def chosen(page: Page, steps: str) -> dict[str, Any]:
    """Capture two microphones, take these steps, and return the microphones that were opened, and are used then."""
    found: dict[str, Any] = await page.evaluate(SWITCH.replace("STEPS", steps))
    return found


async def test_the_microphone_that_is_chosen_last_is_used_if_one_chosen_before_opens_later(page: Page) -> None:
    found = await chosen(page, "const late = choose(slow, ''); await choose(other, ''); await choose(other, other);")
    assert found["used"] == [found["other"], found["other"]]


async def test_a_microphone_that_was_given_up_for_the_former_one_is_closed_when_it_opens(page: Page) -> None:
    found = await chosen(page, "const late = choose(slow, ''); await choose('', '');")
    assert (found["used"], found["nOpened"]) == (found["former"], 3)


async def test_after_the_end_of_a_capture_a_late_microphone_is_closed_and_no_other_one_is_opened(page: Page) -> None:
    found = await chosen(page, "const late = choose(slow, other); capture.close();")
    assert (found["used"], found["nOpened"]) == ([], 3)
