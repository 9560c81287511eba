"""The readers' page in a real browser: late, twice, over a broken network, as an overlay, in any direction."""

import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from playwright.async_api import Browser, expect

from tests.browser.reading import OpenPage, expect_lines, expect_state, shared_link, speaking
from tests.browser.support import Launch, Serve, Server, assert_accessible, drawn
from tests.support.relay import relay_to
from tests.support.speech import pcm_s16le, sound

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_two_readers_see_the_same_and_the_late_one_begins_with_what_was_said_before(
    scripted_server: Server, open_page: OpenPage
) -> None:
    async with speaking(scripted_server, title="The talk", language="en") as publisher:
        early = await open_page(publisher.page_of(scripted_server.url))
        await expect(early.get_by_role("heading", name="The talk")).to_be_visible()
        said = [await publisher.say(900), await publisher.say(1500)]
        await expect_lines(early, said)
        late = await open_page(publisher.page_of(scripted_server.url))
        await expect_lines(late, said)
        await expect(late.locator("#roll-up")).to_contain_text(said[-1])

        await publisher.begin_to_say()
        for page in (early, late):
            await expect(page.locator("#roll-up .tentative, #roll-up .stable").last).to_have_text(re.compile(r"\w"))
            await expect(page.locator("#roll-up p").last).to_contain_text(re.compile("one two three", re.I))
            await expect_lines(page, said)
        await publisher.stop()
        for page in (early, late):
            await expect_state(page, "Over")
            await expect(page.locator("#transcript p")).to_have_count(3)


FORGET = """WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    const first = new URL(url);
    first.searchParams.delete("last_event_id");
    super(first, protocols);
  }
}"""
"""A script that takes away the reader's position."""


@pytest.mark.parametrize("place", ["kept", "forgotten"])
async def test_a_reader_whose_network_breaks_comes_back_by_itself_and_no_line_is_lost_or_doubled(
    scripted_server: Server, open_page: OpenPage, place: str
) -> None:
    """The server may still have the reader's position, or may have to send everything again."""
    async with relay_to(scripted_server.url) as relay, speaking(scripted_server) as publisher:
        page = await open_page(publisher.page_of(relay.url), before=FORGET if place == "forgotten" else "")
        said = [await publisher.say(900)]
        await expect_lines(page, said)
        for _ in range(3):
            relay.cut()
            await expect_state(page, "Reconnecting")
            said += [await publisher.say(600), await publisher.say(1200)]
            relay.up = True
            await expect_state(page, "Live")
            await expect_lines(page, said)
            said.append(await publisher.say(900))
            await expect_lines(page, said)


@pytest.fixture
def serve_again(serve: Serve, tmp_path: Path, unused_tcp_port: int) -> Callable[[], Awaitable[Server]]:
    """Start a server at the address and with the store of the previous one."""
    flags = ("--engine", "scripted", "--port", str(unused_tcp_port), "--store", str(tmp_path / "transcripts.db"))
    return lambda: serve(*flags)


async def kill(server: Server) -> None:
    server.process.kill()
    await server.process.wait()


async def test_a_reader_of_a_server_that_is_killed_and_restarted_sees_each_line_once(
    serve_again: Callable[[], Awaitable[Server]], open_page: OpenPage
) -> None:
    """That holds for the live lines too, where the open utterance is transcribed again."""
    server = await serve_again()
    async with speaking(server) as publisher:
        page = await open_page(publisher.page_of(server.url))
        said = [await publisher.say(900)]
        await expect_lines(page, said)
        await publisher.begin_to_say()
        await expect(page.locator("#roll-up p")).to_have_text([said[0], re.compile("one two three", re.I)])
        await kill(server)
        await expect_state(page, "Reconnecting")
        await serve_again()
        await expect_state(page, "Live")
        said.append(await publisher.say(600))
        await publisher.stop()
        await expect_state(page, "Over")
        await expect_lines(page, said)
        await expect(page.locator("#roll-up p")).to_have_text(said)


async def test_a_reader_is_shown_what_was_said_and_has_no_captions(
    serve_again: Callable[[], Awaitable[Server]], open_page: OpenPage
) -> None:
    """The server is killed, and the publisher has the audio from 10 s on only."""
    server = await serve_again()
    async with speaking(server) as publisher:
        page = await open_page(publisher.page_of(server.url))
        said = await publisher.say(900)
        await expect_lines(page, [said])
        ready = publisher.ready
        await kill(server)
    await serve_again()
    await expect_state(page, "Speaker away")
    back = {"session": ready.session, "token": ready.resume_token, "last_seq": 0, "audio_from_ms": 10_000}
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{server.url}v1/stream?resume={ready.session}") as socket,
    ):
        await socket.send_json({"type": "start", "resume": back})
        await expect_lines(page, [said, re.compile(r"\[[89] s without captions\]")])


async def test_a_reader_is_shown_why_there_is_nothing_to_read(scripted_server: Server, open_page: OpenPage) -> None:
    unknown = await open_page(f"{scripted_server.url}watch/nobody")
    await expect(unknown.locator("#notice")).to_contain_text("There are no captions at this link")
    async with speaking(scripted_server, private=True) as publisher:
        link = publisher.page_of(scripted_server.url)
        page = await open_page(link.partition("#")[0])
        await expect(page.locator("#notice")).to_contain_text("Please open the whole link again")
        await page.evaluate("token => { location.hash = token }", link.partition("#")[2])
        await expect_state(page, "Live")
        await expect_lines(page, [await publisher.say()])


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (503, '{"code": "too_many_readers"}', "Waiting for a place"),
        (503, '{"code": "cut_off"}', "Reconnecting"),
        (429, "Too Many Requests", "Reconnecting"),  # of a proxy
    ],
)
async def test_a_reader_who_is_refused_is_shown_whether_there_are_too_many(
    scripted_server: Server, open_page: OpenPage, status: int, body: str, state: str
) -> None:
    """The refusals are made up."""
    async with speaking(scripted_server) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url))
        await page.route(
            "**/events*",
            lambda route: route.fulfill(status=status, body=body),
        )
        await page.route_web_socket("**/watch*", lambda socket: socket.close())
        await page.reload()
        await expect_state(page, state)
        await page.unroute_all()
        await expect_lines(page, [await publisher.say(900)])


@pytest.mark.parametrize(("status", "code"), [(403, "forbidden_role"), (429, "too_many_attempts")])
async def test_a_reader_whose_token_does_not_open_the_captions_is_shown_that(
    scripted_server: Server, open_page: OpenPage, status: int, code: str
) -> None:
    """The refusals are made up."""
    page = await open_page(f"{scripted_server.url}watch/nobody")
    await page.route("**/events*", lambda route: route.fulfill(status=status, json={"code": code}))
    await page.reload()
    await expect_state(page, "Private")


async def test_a_secret_that_is_badly_encoded_is_a_wrong_one(scripted_server: Server, open_page: OpenPage) -> None:
    async with speaking(scripted_server, private=True) as publisher:
        link = publisher.page_of(scripted_server.url).partition("#")[0]
        await expect_state(await open_page(f"{link}#token=%"), "Private")
    async with speaking(scripted_server) as publisher:
        await expect_state(await open_page(f"{publisher.page_of(scripted_server.url)}#token=%E0%A4%A"), "Live")


async def test_a_readers_display_settings_are_kept(scripted_server: Server, open_page: OpenPage) -> None:
    async with speaking(scripted_server) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url))
        await publisher.say()
        await expect(page.locator("#transcript")).to_be_in_viewport()
        await page.get_by_role("button", name="Larger captions").click()
        await page.get_by_role("button", name="Options").click()
        await page.get_by_label("Show").select_option("two-lines")
        await page.get_by_label("Live lines").select_option("top")
        await page.get_by_role("combobox", name="Captions").select_option("yellow-on-black")
        await page.get_by_label("Letters").select_option("serif")
        await page.get_by_label("Line spacing").select_option("wider")
        await page.get_by_role("button", name="Done").click()
        await expect(page.get_by_role("button", name="Options")).to_be_focused()
        await page.reload()
        await expect(page.locator("#caption-size")).to_have_text("110 %")
        await expect(page.locator("#roll-up")).to_have_css("font-family", re.compile("^Charter"))
        await expect(page.locator("#transcript")).to_have_css("line-height", re.compile(r"^5\d"))
        await expect(page.locator("#roll-up")).to_have_css("color", "rgb(255, 230, 0)")
        box = await page.locator("#transcript").bounding_box()
        roll_up = await page.locator("#roll-up").bounding_box()
        assert box is not None
        assert roll_up is not None
        assert box["width"] <= 1
        assert roll_up["y"] < 200
        # Invisible, but available to screen readers.
        await expect(page.get_by_role("log")).to_contain_text(re.compile(r"\w"))


async def test_the_overlay_is_two_lines_on_nothing(scripted_server: Server, open_page: OpenPage) -> None:
    async with speaking(scripted_server) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url, "?overlay=1"))
        said = await publisher.say(1500)
        await expect(page.locator("#roll-up")).to_contain_text(said)
        for selector in ("html", "body", "main", ".stage", "#roll-up"):
            await expect(page.locator(selector)).to_have_css("background-color", "rgba(0, 0, 0, 0)")
        # Nobody can operate it: its address has all settings.
        await expect(page.get_by_role("button")).to_have_count(0)
        header = await page.locator("header").bounding_box()
        assert header is not None
        assert header["width"] <= 1
        await expect(page.locator("#roll-up .stable").last).to_have_css("color", "rgb(255, 255, 255)")
        size = await page.locator("#roll-up").evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
        viewport = page.viewport_size
        assert viewport is not None
        assert size >= 0.05 * viewport["height"] - 0.5


async def test_languages_from_right_to_left_stand_on_the_right(scripted_server: Server, open_page: OpenPage) -> None:
    async with speaking(
        scripted_server, prompt="script: say \u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u0645 42"
    ) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url))
        await publisher.say()
        for line in (page.locator("#transcript p"), page.locator("#roll-up p")):
            await expect(line).to_have_css("direction", "rtl")
        words = await page.locator("#transcript p span").bounding_box()
        time = await page.locator("#transcript p time").bounding_box()
        assert words is not None
        assert time is not None
        assert words["x"] < time["x"]


async def test_a_reader_who_scrolls_back_keeps_the_place_and_jumps_to_live(
    scripted_server: Server, open_page: OpenPage
) -> None:
    async with speaking(scripted_server, partials=False) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url))
        await page.set_viewport_size({"width": 500, "height": 320})
        for _ in range(8):
            await publisher.say(600)
        await expect(page.locator("#transcript p")).to_have_count(8)
        # Larger type is no scrolling of the reader's own, nor is a turned phone.
        for _ in range(3):
            await page.get_by_role("button", name="Larger captions").click()
        await page.set_viewport_size({"width": 400, "height": 420})
        await expect(page.locator("#transcript p").last).to_be_in_viewport()
        await expect(page.locator("#jump")).to_be_hidden()

        await page.locator("#transcript").hover()
        await page.mouse.wheel(0, -1000)
        await expect(page.get_by_role("button", name="Jump to live")).to_be_visible()
        await publisher.say(600)
        await page.get_by_role("button", name="Jump to live (1 new)").click()
        await expect(page.locator("#transcript p").last).to_be_in_viewport()
        await expect(page.locator("#jump")).to_be_hidden()


@pytest.mark.parametrize("query", ["", "?overlay=1&size=150&colors=yellow-on-black&position=top&lines=3&font=serif"])
async def test_the_page_breaks_no_rule_of_accessibility_and_fits(
    scripted_server: Server, launch: Launch, query: str
) -> None:
    browser = await launch()
    async with speaking(scripted_server) as publisher, await browser.new_context(bypass_csp=True) as context:
        page = await context.new_page()
        await page.goto(publisher.page_of(scripted_server.url, query))
        await expect_lines(page, [await publisher.say()])
        for width in (1280, 320):
            await page.set_viewport_size({"width": width, "height": 640})
            await assert_accessible(page, ["light"])
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await expect(page.get_by_role("log")).to_have_attribute("aria-live", "off")


async def test_the_publishers_page_has_a_link_and_a_code_for_readers(
    scripted_server: Server, speaking_browser: Browser, open_page: OpenPage
) -> None:
    async with await speaking_browser.new_context() as context:
        page = await context.new_page()
        await page.goto(scripted_server.url)
        await page.get_by_role("button", name="Start captions").click()
        link = await shared_link(page)
        assert link.startswith(f"{scripted_server.url}watch/")
        assert "#" not in link
        await expect(page.locator("#share-private")).to_be_hidden()
        await expect(page.locator("#share-local")).to_be_visible()
        await expect_state(page, "Live")
        reader = await open_page(link)
        await expect(reader.locator("#roll-up")).to_contain_text(re.compile(r"\w"))
        await page.get_by_role("button", name="Done").click()


async def test_a_publisher_makes_a_session_private_before_the_start_and_shares_its_secret_with_the_link_and_the_code(
    scripted_server: Server, speaking_browser: Browser, open_page: OpenPage
) -> None:
    async with await speaking_browser.new_context() as context:
        page = await context.new_page()
        await page.goto(scripted_server.url)
        switch = page.get_by_role("switch", name="Private")
        await expect(switch).not_to_be_checked()
        await switch.check()
        await page.get_by_role("button", name="Start captions").click()
        await expect_state(page, "Live")
        async with page.expect_response("**/qr.svg*") as code:
            link = await shared_link(page)
        await expect(switch).to_be_disabled()
        await expect(page.locator("#share-private")).to_be_visible()
        _, _, token = link.partition("#token=")
        assert len(token) == 32
        assert await (await code.value).body() == drawn(link)

        reader = await open_page(link)
        await expect(reader.locator("#roll-up")).to_contain_text(re.compile(r"\w"))
        await expect_state(await open_page(link.partition("#")[0]), "Private")

        await page.get_by_role("button", name="Done").click()
        await page.get_by_role("button", name="Pause captions").click()
        await expect_state(page, "Paused")
        await page.get_by_role("button", name="End event").click()
        await page.get_by_role("dialog").get_by_role("button", name="End event").click()
        await expect(switch).to_be_enabled()
        await page.reload()
        await expect(switch).to_be_checked()


async def test_the_publishers_page_resumes_over_a_broken_network_and_readers_miss_nothing(
    scripted_server: Server, speaking_browser: Browser, open_page: OpenPage
) -> None:
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(relay_to(scripted_server.url))
        context = await stack.enter_async_context(await speaking_browser.new_context())
        page = await context.new_page()
        await page.goto(relay.url)
        await page.get_by_role("button", name="Start captions").click()
        await expect_state(page, "Live")
        link = await shared_link(page)
        reader = await open_page(link.replace(relay.url, scripted_server.url))
        await page.get_by_role("button", name="Done").click()
        for n in (1, 2):
            await expect(page.locator("#transcript p")).not_to_have_count(n - 1)
            relay.cut()
            await expect_state(page, "Reconnecting")
            relay.up = True
            await expect_state(page, "Live")
        await page.get_by_role("button", name="Pause captions").click()
        await expect(page.get_by_role("button", name="Continue captions")).to_be_visible()
        await expect_state(reader, "Break")
        lines = await page.locator("#transcript p span").all_inner_texts()
        assert lines
        await expect_lines(reader, lines)


async def test_the_page_ends_with_the_server(serve: Serve, open_page: OpenPage) -> None:
    server = await serve("--engine", "scripted")
    async with speaking(server) as publisher:
        page = await open_page(publisher.page_of(server.url))
        await publisher.begin_to_say()
        await expect(page.locator("#roll-up")).to_contain_text(re.compile(r"\w"))
        server.terminate()
        await expect_state(page, "Stopped")
        await expect(page.locator("#notice")).to_contain_text("The server was stopped")
        await expect(page.locator("#transcript p")).to_have_count(1)


BOTH_SPEAK = pcm_s16le(np.stack((sound("silence 200ms, speech 9000ms"), sound("silence 900ms, speech 8300ms")), axis=1))
SILENCE = bytes(2 * 2 * 16 * 1500)
APART: dict[str, Any] = {"channels": 2, "channel_mode": "separate", "endpointing": {"max_utterance_ms": 28_000}}
IS_IN_SIGHT = """line => {
  const range = document.createRange();
  range.selectNodeContents(line.querySelector("bdi"));
  const words = [...range.getClientRects()].filter(({ width }) => width > 0).at(-1);
  const { top, bottom } = document.querySelector("#roll-up").getBoundingClientRect();
  const lineHeight = parseFloat(getComputedStyle(line).lineHeight);
  return words.top >= top - 1 && words.bottom <= bottom + 1 && line.clientHeight <= 2 * lineHeight + 1;
}"""


@pytest.mark.parametrize("query", ["", "?overlay=1"])
async def test_two_people_who_speak_at_once_have_their_newest_words_in_sight(
    scripted_server: Server, open_page: OpenPage, query: str
) -> None:
    """Each has more than two lines of words. Of each the last two lines are shown, with the channel."""
    async with speaking(scripted_server, **APART) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url, query))
        await page.set_viewport_size({"width": 500, "height": 700})
        await publisher.send(BOTH_SPEAK)
        lines = page.locator("#roll-up p")
        await expect(lines).to_have_count(2)
        await expect(lines.locator(".channel")).to_have_text(["Channel 1", "Channel 2"])
        for line in await lines.all():
            await expect(line).to_contain_text("golf")
            assert await line.evaluate(IS_IN_SIGHT)
        # A reader who comes now sees both, too.
        late = await open_page(publisher.page_of(scripted_server.url, query))
        await expect(late.locator("#roll-up p")).to_have_count(2)


async def test_finals_of_two_channels_are_named_and_none_is_lost_or_doubled(
    scripted_server: Server, open_page: OpenPage
) -> None:
    """The utterance of the right channel begins later and ends sooner, so its final comes first."""
    left, right = sound("speech 4000ms, silence 1000ms"), sound("silence 300ms, speech 900ms, silence 3800ms")
    async with speaking(scripted_server, **APART) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url))
        await publisher.send(pcm_s16le(np.stack((left, right), axis=1)))
        entries = page.locator("#transcript p")
        await expect(entries).to_have_count(2)
        await expect(entries.locator(".channel")).to_have_text(["Channel 2", "Channel 1"])
        await page.reload()
        await expect(entries.locator(".channel")).to_have_text(["Channel 2", "Channel 1"])
        await publisher.send(BOTH_SPEAK + SILENCE)
        await expect(entries).to_have_count(4)


async def test_an_overlay_of_two_channels_shows_four_whole_lines(scripted_server: Server, open_page: OpenPage) -> None:
    """Name and words stand on one line, and their boxes are whole."""
    both = sound("silence 200ms, speech 900ms, silence 1500ms")
    async with speaking(scripted_server, **APART) as publisher:
        page = await open_page(publisher.page_of(scripted_server.url, "?overlay=1"))
        await page.set_viewport_size({"width": 1280, "height": 720})
        lines = page.locator("#roll-up p")
        for n_lines in (2, 4):
            await publisher.send(pcm_s16le(np.stack((both, both), axis=1)))
            await expect(page.locator("#transcript p")).to_have_count(n_lines)
        await expect(lines).to_have_count(4)
        top_px, line_px, em_px = await page.locator("#roll-up").evaluate(
            """rollUp => [rollUp.getBoundingClientRect().top, parseFloat(getComputedStyle(rollUp).lineHeight),
                          parseFloat(getComputedStyle(rollUp).fontSize)]"""
        )
        for line in await lines.all():
            row, name, words, room = await line.evaluate(
                """line => [line, ...[".channel", "bdi", ".last-lines"].map((part) => line.querySelector(part))]
                     .map((part) => part.getBoundingClientRect().toJSON())"""
            )
            assert row["height"] == pytest.approx(line_px, abs=0.1)
            assert row["top"] >= top_px - 0.1
            middles_px = [(box["top"] + box["bottom"]) / 2 for box in (name, words)]
            assert middles_px[0] == pytest.approx(middles_px[1], abs=1)
            assert words["left"] - room["left"] >= 0.3 * em_px - 0.1
