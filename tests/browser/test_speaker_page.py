"""The speaker's page as people use it for an event: its link, its breaks, its end, and what happens in between."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from tests.browser.reading import shared_link
from tests.browser.support import ALL_SCHEMES, ROOT, Serve, Server, assert_accessible, show_if_failed

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SCRIPTED = ("--engine", "scripted")


@pytest_asyncio.fixture(loop_scope="session")
async def context(speaking_browser: Browser) -> AsyncIterator[BrowserContext]:
    """One speaker's browser, in which the microphone is allowed."""
    async with await speaking_browser.new_context(bypass_csp=True) as context:
        yield context
        await show_if_failed(context)


async def opened(context: BrowserContext, url: str) -> Page:
    page = await context.new_page()
    await page.goto(url)
    return page


async def expect_state(page: Page, words: str) -> None:
    await expect(page.locator("#state")).to_have_text(words)


async def press(page: Page, button: str) -> None:
    await page.get_by_role("button", name=button, exact=True).click()


async def end_event(page: Page) -> None:
    await press(page, "End event")
    await page.get_by_role("dialog", name="End the event?").get_by_role("button", name="End event").click()


async def room_at(page: Page, link: str) -> dict[str, Any]:
    """Return the room as a reader with this link gets it."""
    place, _, token = link.partition("#token=")
    query = f"?reader_token={token}" if token else ""
    response = await page.request.get(f"{place.replace('/watch/', '/v1/rooms/')}{query}")
    assert response.status == 200, await response.text()
    room: dict[str, Any] = await response.json()
    return room


async def said(page: Page) -> list[str]:
    """Wait for a caption more than there is; return all."""
    lines = page.locator("#transcript p span")
    await expect(lines).not_to_have_count(await lines.count())
    return await lines.all_inner_texts()


async def test_an_event_has_one_link_before_it_in_its_break_and_after_its_end(
    scripted_server: Server, context: BrowserContext
) -> None:
    page = await opened(context, scripted_server.url)
    await page.locator("#event summary").click()
    await page.get_by_label("Title").fill("Ecology")
    link = await shared_link(page)
    assert re.fullmatch(rf"{scripted_server.url}watch/[\w-]{{12}}", link)
    assert (await room_at(page, link))["state"] == "waiting"
    name = page.get_by_label("Link name")
    await expect(name).to_have_accessible_description("")
    await press(page, "Done")
    await expect(page.get_by_role("button", name="Share")).to_be_focused()

    await press(page, "Start captions")
    await said(page)
    assert (await room_at(page, link))["state"] == "live"
    await press(page, "Pause captions")
    await expect_state(page, "Paused")
    assert (await room_at(page, link))["state"] == "break"
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("Space")
    await expect_state(page, "Live")
    await expect(page.get_by_text("The event is over.")).to_be_hidden()

    await press(page, "End event")
    dialog = page.get_by_role("dialog", name="End the event?")
    await dialog.get_by_role("button", name="Go on").click()
    await expect_state(page, "Live")
    await end_event(page)
    await expect_state(page, "Ready")
    room = await room_at(page, link)
    assert (room["state"], room["title"], len(room["parts"])) == ("ended", "Ecology", 2)
    await expect(page.get_by_text("The event is over.")).to_be_visible()
    await expect(page.get_by_role("link", name="Its link")).to_have_attribute("href", link)
    await expect(page.get_by_role("button", name="End event")).to_be_hidden()

    # The next event at the same link, for which nobody opens the share dialog.
    await page.reload()
    await page.get_by_label("Title").fill("Chemistry")
    await page.get_by_label("Title").blur()
    await press(page, "Start captions")
    await said(page)
    room = await room_at(page, link)
    assert (room["state"], room["title"], len(room["parts"])) == ("live", "Chemistry", 1)
    await page.get_by_label("Title").fill("Organic chemistry")
    async with page.expect_response(re.compile("/v1/rooms/")):
        await page.get_by_label("Title").blur()
    assert (await room_at(page, link))["title"] == "Organic chemistry"
    assert await shared_link(page) == link
    await expect(name).to_have_accessible_description("While the event runs, its link cannot change.")


async def test_an_event_can_be_ended_in_its_break_also_after_the_page_was_loaded_again(
    scripted_server: Server, context: BrowserContext
) -> None:
    """A token that is missing is asked for, and the event ends once it was entered. It is private."""
    page = await opened(context, scripted_server.url)
    await page.get_by_label("Private").check()
    link = await shared_link(page)
    await press(page, "Done")
    await press(page, "Start captions")
    lines = await said(page)
    await press(page, "Pause captions")
    await expect_state(page, "Paused")
    lines = await page.locator("#transcript p span").all_inner_texts()
    await page.reload()
    await expect_state(page, "Paused")
    await expect(page.locator("#transcript p span")).to_have_text(lines)
    await page.route("**/v1/rooms/**", refuse)
    await end_event(page)
    token = page.get_by_role("dialog", name="This server requires an access token")
    await token.get_by_label("Access token").fill("right")
    await page.unroute("**/v1/rooms/**")
    await token.get_by_role("button", name="End event").click()
    await expect_state(page, "Ready")
    await expect(page.get_by_role("link", name="Its link")).to_have_attribute("href", link)
    assert (await room_at(page, link))["state"] == "ended"


async def test_a_private_event_has_a_link_of_its_own_with_its_secret(
    scripted_server: Server, context: BrowserContext
) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await opened(context, scripted_server.url)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    public = await shared_link(page)
    await press(page, "Done")
    await page.get_by_label("Private").check()
    await press(page, "Share")
    field = page.get_by_label("Link", exact=True)
    await expect(field).to_have_value(re.compile("#token="))
    private = await field.input_value()
    await expect(page.locator("#share-code")).to_be_visible()
    assert private.partition("#")[0] != public
    place = private.partition("#")[0].replace("/watch/", "/v1/rooms/")
    assert (await page.request.get(place)).status == 401
    assert (await room_at(page, private))["private"]

    await press(page, "Copy for OBS")
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == private.replace("#", "?overlay=1#")
    await press(page, "Done")
    await page.get_by_label("Private").uncheck()
    assert await shared_link(page) == public

    # A page that was loaded again reads what was said, and no address of a request has a token.
    session = {"id": "s", "readerToken": private.partition("#token=")[2], "beganAtMs": 0}
    tab = json.dumps(json.dumps({"sessions": [session]}))
    await page.add_init_script(f"sessionStorage.setItem('livecaption.tab', {tab})")
    async with page.expect_request("**/v1/sessions/s/transcript.json") as restored:
        await page.reload()
    assert (await restored.value).headers["authorization"] == f"Bearer {session['readerToken']}"
    assert any("qr.svg" in url for url in requested)
    assert [url for url in requested if session["readerToken"] in url] == []


async def test_a_link_has_the_name_that_a_speaker_chooses_unless_it_is_somebody_elses(
    scripted_server: Server, context: BrowserContext, speaking_browser: Browser
) -> None:
    page = await opened(context, scripted_server.url)
    first = await shared_link(page)
    name = page.get_by_label("Link name")
    await name.fill("two words")
    await page.keyboard.press("Enter")
    await expect(page.locator("#share-name-problem")).to_contain_text("This is no name for a link")
    await expect(name).to_have_attribute("aria-invalid", "true")
    await name.fill("PyCon-2026")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Link", exact=True)).to_have_value(f"{scripted_server.url}watch/PyCon-2026")
    await expect(page.locator("#share-name-problem")).to_be_empty()
    assert (await room_at(page, f"{scripted_server.url}watch/PyCon-2026"))["state"] == "waiting"
    await page.reload()
    assert await shared_link(page) == f"{scripted_server.url}watch/PyCon-2026"

    async with await speaking_browser.new_context() as elsewhere:
        other = await opened(elsewhere, scripted_server.url)
        own = await shared_link(other)
        await other.get_by_label("Link name").fill("PyCon-2026")
        await other.keyboard.press("Tab")
        await expect(other.locator("#share-name-problem")).to_contain_text("This link belongs to somebody else")
        await expect(other.get_by_label("Link name")).to_have_attribute("aria-invalid", "false")
        await expect(other.get_by_label("Link", exact=True)).to_have_value(own)
        await expect(other.locator("#share-code")).to_have_attribute("src", re.compile("^data:image/svg"))
    await press(page, "New link")
    await expect(page.get_by_label("Link", exact=True)).not_to_have_value(re.compile("PyCon"))
    assert await page.get_by_label("Link", exact=True).input_value() != first


async def test_a_link_that_does_not_work_is_not_shared_and_the_way_to_make_it_work_is_shown(
    scripted_server: Server, context: BrowserContext
) -> None:
    page = await opened(context, scripted_server.url)
    link, code = page.get_by_label("Link", exact=True), page.locator("#share-code")
    tools = [page.get_by_role("button", name=name) for name in ("Copy link", "Copy for OBS", "Save QR code")]
    problem = page.locator("#share-problem")
    token = page.get_by_role("dialog", name="This server requires an access token")
    await page.route("**/v1/rooms/**", refuse)
    await press(page, "Share")
    await token.get_by_role("button", name="Cancel").click()
    await expect(problem).to_have_text("This server requires an access token. The link works once you have entered it.")
    await expect(link).to_have_value("")
    await expect(code).to_be_hidden()
    for tool in tools:
        await expect(tool).to_be_disabled()
    await press(page, "Done")

    # In the hall there is no broken picture, and the reason is small.
    await page.unroute("**/v1/rooms/**")
    await page.route("**/v1/rooms/**", lambda route: route.abort())
    await page.keyboard.press("p")
    await page.keyboard.press("q")
    await expect(page.locator("#stage-mark")).to_have_text("No QR code. The server does not answer")
    await expect(page.locator("#corner-code")).to_be_hidden()
    await page.keyboard.press("Escape")
    await expect(page.locator("#stage-mark")).to_be_empty()

    await page.unroute("**/v1/rooms/**")
    await page.route("**/v1/rooms/**", refuse)
    await press(page, "Share")
    await token.get_by_role("button", name="Cancel").click()
    await page.unroute("**/v1/rooms/**")
    await press(page, "Enter the token")
    await token.get_by_label("Access token").fill("right")
    await page.keyboard.press("Enter")
    await expect(link).to_have_value(re.compile("/watch/"))
    await expect(code).to_be_visible()
    await expect(problem).to_be_empty()
    await expect(page.get_by_role("button", name="Enter the token")).to_be_hidden()
    async with page.expect_download() as saved:
        await press(page, "Save QR code")
    assert (await saved.value).suggested_filename.endswith(".svg")

    # The reason goes once there is a code.
    await page.reload()
    await page.route("**/v1/rooms/**", refuse)
    await page.keyboard.press("p")
    await page.keyboard.press("q")
    await token.get_by_label("Access token").fill("right")
    await expect(page.locator("#stage-mark")).to_have_text("No QR code. This server requires an access token")
    await page.unroute("**/v1/rooms/**")
    await page.keyboard.press("Enter")
    await expect(page.locator("#stage-mark")).to_be_empty()


async def refuse(route: Route) -> None:
    await route.fulfill(status=401, json={"code": "unauthorized", "message": "the token is missing"})


async def test_a_page_works_where_its_storage_is_broken_or_forbidden(module_page: Page) -> None:
    broken = ("no JSON", "null", "5", '"x"', "[]", "{}", "[null, 5, {}]", '{"sessions": 5, "running": {"ready": {}}}')
    broken += ('{"sessions": [5, {"id": 5}], "event": {"name": "../x"}, "captionSize": "x", "theme": {}}',)
    found = await module_page.evaluate(
        """async (broken) => {
          const [rooms, { readTab }, { Settings }] =
            await Promise.all(["/rooms.js", "/tab.js", "/settings.js"].map((path) => import(path)));
          return broken.map((value) => {
            for (const key of ["rooms", "settings"]) localStorage.setItem(`livecaption.${key}`, value);
            sessionStorage.setItem("livecaption.tab", value);
            const settings = new Settings();
            const room = rooms.currentRoom(true);
            return [room.private, room.name.length, readTab(), settings.get("captionSize"), settings.get("theme")];
          });
        }""",
        broken,
    )
    nothing = {"id": "", "sessions": [], "running": None, "event": None}
    assert found == [[True, 12, nothing, 100, "auto"]] * len(broken)

    kept = await module_page.evaluate("""async () => {
      const [rooms, { accessToken, keepToken }, { keepTab, readTab }] =
        await Promise.all(["/rooms.js", "/token.js", "/tab.js"].map((path) => import(path)));
      const forbidden = { configurable: true, get() { throw new DOMException("", "SecurityError"); } };
      const allowed = Object.getOwnPropertyDescriptors(window);
      const places = ["localStorage", "sessionStorage"].map((name) => [name, allowed[name]]);
      for (const [name] of places) Object.defineProperty(window, name, forbidden);
      try {
        const before = accessToken();
        keepToken("kept", true);
        keepTab({ id: '', sessions: [], running: null, event: rooms.currentRoom(false) });
        const isKept = rooms.newRoom(false).name === rooms.currentRoom(false).name;
        return [before, accessToken(), readTab().event !== null, isKept];
      } finally {
        for (const [name, own] of places) Object.defineProperty(window, name, own);
        keepToken("", false);
        localStorage.clear();
        sessionStorage.clear();
      }
    }""")
    assert kept == ["", "kept", True, True]


async def test_a_choice_changes_no_other_choice_and_no_page_that_is_open(module_page: Page) -> None:
    found = await module_page.evaluate("""async () => {
      const { Settings } = await import("/settings.js");
      const [speaker, reader] = [new Settings(), new Settings()];
      speaker.set("private", true);
      reader.set("captionSize", 150);
      const pages = [speaker, reader, new Settings()];
      localStorage.clear();
      return pages.map((page) => [page.get("private"), page.get("captionSize")]);
    }""")
    assert found == [[True, 100], [False, 150], [True, 150]]


async def test_a_second_page_shows_that_somebody_speaks_and_may_take_over(
    scripted_server: Server, context: BrowserContext
) -> None:
    first = await opened(context, scripted_server.url)
    second = await opened(context, scripted_server.url)
    await press(first, "Start captions")
    await expect_state(first, "Live")
    dialog = second.get_by_role("dialog", name="Somebody speaks in this event already")
    await press(second, "Start captions")
    await dialog.get_by_role("button", name="Leave it").click()
    await expect(second.get_by_role("alert")).to_contain_text("Only one page can speak at a time.")
    await expect_state(first, "Live")
    await press(second, "Start again")
    await dialog.get_by_role("button", name="Take over").click()
    await expect_state(second, "Live")
    await expect_state(first, "Taken over")
    await expect(first.get_by_role("alert")).to_contain_text("Somebody else speaks now")
    for button in ("Start again", "End event"):
        await expect(first.get_by_role("button", name=button)).to_be_visible()
    await expect_state(second, "Live")


async def test_a_page_that_is_loaded_again_asks_first_and_goes_on_with_its_session(
    scripted_server: Server, context: BrowserContext
) -> None:
    """It is private, also if another page is not. The server sends what it sent while the page was loaded."""
    await context.grant_permissions(["microphone"])
    page = await opened(context, scripted_server.url)
    await page.get_by_label("Private").check()
    asked: list[str] = []

    async def leave(dialog: Any) -> None:
        asked.append(dialog.type)
        await dialog.accept()

    page.on("dialog", leave)
    await press(page, "Start captions")
    before = await said(page)
    link = await shared_link(page)
    other = await opened(context, scripted_server.url)
    await other.get_by_label("Private").uncheck()
    await other.close()
    await page.add_init_script(
        "const tab = JSON.parse(sessionStorage['livecaption.tab']); tab.running.lastSeq = 1;"
        "sessionStorage['livecaption.tab'] = JSON.stringify(tab)"
    )
    async with page.expect_response("**/transcript.json") as restoring:
        await page.reload()
    n_restored = len((await (await restoring.value).json())["captions"])
    assert asked == ["beforeunload"]
    await expect_state(page, "Live")
    after = await said(page)
    assert after[: len(before)] == before
    room = await room_at(page, link)
    assert (room["state"], room["away"], len(room["parts"])) == ("live", False, 1)
    export = f"{scripted_server.url}v1/sessions/{room['session']}/transcript.json"
    exported = await page.request.get(export, headers={"Authorization": f"Bearer {link.partition('#token=')[2]}"})
    kept = [caption["text"] for caption in (await exported.json())["captions"]]
    shown = await page.locator("#transcript p span").all_inner_texts()
    assert shown[: len(kept)] == kept[: len(shown)]
    n_shown, n_live = await page.evaluate(
        "['#transcript p', '#roll-up .final'].map((place) => document.querySelectorAll(place).length)"
    )
    assert n_live == min(2, n_restored) + n_shown - n_restored
    await end_event(page)
    await expect_state(page, "Ready")
    await expect(page.get_by_role("link", name="Its link")).to_have_attribute("href", link)


async def test_a_page_whose_browser_asks_for_the_microphone_goes_on_by_one_press(
    scripted_server: Server, context: BrowserContext
) -> None:
    page = await opened(context, scripted_server.url)
    await page.add_init_script("navigator.permissions.query = async () => ({ state: 'prompt' })")
    await press(page, "Start captions")
    before = await said(page)
    link = await shared_link(page)
    await page.reload()
    await expect(page.locator("#transcript p span").first).to_have_text(before[0])
    room = await room_at(page, link)
    assert (room["state"], room["away"]) == ("live", True)
    await press(page, "Continue captions")
    await expect_state(page, "Live")
    assert (await said(page))[: len(before)] == before
    assert len((await room_at(page, link))["parts"]) == 1

    # A part that waits for its publisher is no reason to let the readers wait too.
    await page.reload()
    await expect_state(page, "Paused")
    await end_event(page)
    await expect_state(page, "Ready")
    assert (await room_at(page, link))["state"] == "ended"


async def test_a_page_goes_on_by_itself_when_its_server_restarts(
    serve: Serve, context: BrowserContext, tmp_path: Path, unused_tcp_port: int
) -> None:
    flags = (*SCRIPTED, "--port", str(unused_tcp_port), "--store", str(tmp_path / "transcripts.db"))
    server = await serve(*flags)
    page = await opened(context, server.url)
    await press(page, "Start captions")
    before = await said(page)
    link = await shared_link(page)
    await press(page, "Done")
    server.terminate()
    await expect(page.locator("#notice")).to_have_text("The server restarts. Captions go on by themselves.")
    await expect_state(page, "Reconnecting")
    await server.process.wait()
    await serve(*flags)
    await expect_state(page, "Live")
    await expect(page.locator("#notice")).to_be_empty()
    assert (await said(page))[: len(before)] == before
    assert [part["state"] for part in (await room_at(page, link))["parts"]] == ["open"]


async def test_a_page_begins_the_next_part_by_itself_if_the_server_has_lost_the_session(
    serve: Serve, context: BrowserContext, unused_tcp_port: int
) -> None:
    flags = (*SCRIPTED, "--port", str(unused_tcp_port), "--store", "none")
    server = await serve(*flags)
    page = await opened(context, server.url)
    await press(page, "Start captions")
    before = await said(page)
    server.process.kill()
    await server.process.wait()
    await expect_state(page, "Reconnecting")
    await serve(*flags)
    await expect_state(page, "Live")
    await expect(page.locator("#notice")).to_contain_text("Captions continue as a new part of the event.")
    assert (await said(page))[: len(before)] == before


async def test_the_choices_for_an_event_are_sent_with_its_start_and_remembered(
    scripted_server: Server, context: BrowserContext
) -> None:
    page = await opened(context, scripted_server.url)
    starts: list[dict[str, Any]] = []
    page.on(
        "websocket",
        lambda socket: socket.on(
            "framesent", lambda sent: starts.append(json.loads(sent)) if isinstance(sent, str) else None
        ),
    )
    await page.locator("#event summary").click()
    await page.get_by_label("Title").fill("Morning")
    # Elsewhere, some of these letters are shortcuts.
    await page.get_by_label("Names and terms").press_sequentially("Zuse, Ada Lovelace\nlivecaption\n")
    await page.get_by_label("End sentences").select_option("accurate")
    await page.get_by_label("Keep the transcript").uncheck()
    await page.reload()
    await expect(page.get_by_label("Title")).to_have_value("Morning")
    await expect(page.get_by_label("Keep the transcript")).not_to_be_checked()
    await press(page, "Start captions")
    await expect_state(page, "Live")
    start = starts[0]
    assert (start["encoding"], start["sample_rate"]) == ("pcm_s16le", 16_000)  # a third of what the browser captures
    assert start["hotwords"] == ["Zuse", "Ada Lovelace", "livecaption"]
    assert (start["title"], start["endpointing"], start["keep"]) == ("Morning", {"preset": "accurate"}, False)
    assert (await room_at(page, await shared_link(page)))["title"] == "Morning"
    await expect(page.get_by_label("Link name")).to_be_disabled()
    await expect(page.get_by_text("While the event runs, its link cannot change.")).to_be_visible()


async def test_the_link_begins_with_the_public_address_and_the_page_shows_what_is_kept_and_how_long(
    serve: Serve, context: BrowserContext, tmp_path: Path
) -> None:
    public = "https://captions.example.org/hall/"
    server = await serve(*SCRIPTED, "--public-url", public, "--store", str(tmp_path / "transcripts.db"))
    page = await opened(context, server.url)
    kept = page.locator("#keeping")
    await expect(kept).to_contain_text("The server keeps the transcript for 30 days. It keeps no sound.")
    await page.locator("#event summary").click()
    await page.get_by_label("Keep the transcript").uncheck()
    await expect(kept).to_contain_text("The server keeps neither sound nor transcript.")
    assert (await shared_link(page)).startswith(f"{public}watch/")
    await expect(page.get_by_label("Address in the network")).to_be_hidden()


async def test_a_page_of_a_server_for_its_own_machine_shows_that_and_that_it_keeps_nothing(
    scripted_server: Server, context: BrowserContext
) -> None:
    page = await opened(context, scripted_server.url)
    await expect(page.locator("#keeping")).to_contain_text("This server keeps no transcripts, and no sound.")
    await shared_link(page)
    await expect(page.get_by_text("This link works on this computer only")).to_be_visible()


async def test_each_error_that_people_can_meet_has_words_of_its_own(module_page: Page) -> None:
    """The codes are those of docs/protocol.md. The server's own words are a detail."""
    table = (ROOT / "docs" / "protocol.md").read_text().partition("\n## Errors\n")[2].partition("\n## ")[0]
    codes = {
        code
        for line in table.splitlines()
        if line.startswith("| `")
        for code in re.findall("`(.*?)`", line.split("|")[1])
    }
    assert len(codes) > 30
    ends_nothing = {"transcription_failed", "worker_died", "quarantined", "non_finite_audio", "truncated_audio"}
    ends_nothing |= {"wrong_encoding", "invalid_name", "unknown_speaker"}
    of_transcripts = {"local_only", "no_store", "overloaded", "store_failed", "forbidden_origin", "unknown_session"}
    of_transcripts |= {"invalid_name"}
    # The page opens a dialog, or the readers' page shows a state.
    elsewhere = {"too_many_readers", "unknown_room"}
    # No page sends what these refuse.
    never = {
        "unsupported_encoding",
        "unsupported_task",
        "invalid_container",
        "upgrade_required",
    }
    never |= {"invalid_query"}
    # Only clients of other services upload recordings, and only players and programs read segments and sinks.
    never |= {"empty_recording", "invalid_upload", "model_not_found", "too_many_uploads", "upload_timeout"}
    never |= {"upload_too_large", "recording_too_long", "unsupported_content_encoding"}
    never |= {"unknown_segment", "unknown_sink", "unknown_address", "wrong_method", "body_timeout"}
    words = await module_page.evaluate(
        """async (codes) => {
          const { faultWords, problemWords, refusalWords } = await import("/words.js");
          const place = { hostname: "localhost", port: "8000", href: "http://localhost:8000/" };
          const of = (code) => [
            problemWords({ code, message: "raw" }, place).title, faultWords(code), refusalWords(code, 400, "raw")];
          return Object.fromEntries(["nonsense", ...codes].map((code) => [code, of(code)]));
        }""",
        sorted(codes),
    )
    problem, fault, refusal = words.pop("nonsense")
    assert {code for code in codes if words[code][1] != fault} == ends_nothing
    assert {code for code in codes if words[code][2] != refusal} == of_transcripts
    without = {code for code in codes if words[code][0] == problem}
    assert without == ends_nothing | elsewhere | never | {"local_only", "no_store"}


async def test_doubt_needs_several_unsure_sentences(module_page: Page) -> None:
    doubts = """async (finals) => {
      const { Doubt } = await import('/doubt.js');
      const doubt = new Doubt();
      return finals.map(([words, confidence]) => doubt.push({ text: 'word '.repeat(words), confidence }));
    }"""

    async def doubted(*finals: tuple[int, float]) -> list[bool]:
        found: list[bool] = await module_page.evaluate(doubts, [list(final) for final in finals])
        return found

    german = (9, 0.5), (18, 0.31), (7, 0.41), (13, 0.41)
    assert await doubted(*german) == [False, False, False, True]
    assert await doubted(*german[:3], (2, 0.1), (9, 0.9)) == [False] * 5
    assert await doubted(*german, *[(8, 0.9)] * 2) == [False, False, False, True, False, False]


async def test_the_page_warns_of_speech_in_a_language_that_its_model_lacks(
    scripted_server: Server, context: BrowserContext
) -> None:
    """The scripted model is made to have one language; it is not confident in any word."""
    page = await context.new_page()

    async def informed(route: Route) -> None:
        response = await route.fetch()
        await route.fulfill(
            response=response, json={**await response.json(), "model": {"name": "m", "languages": ["en"]}}
        )

    await page.route("**/v1/info", informed)
    await page.route_web_socket("**/v1/stream*", unsure)
    await page.goto(scripted_server.url)
    await press(page, "Start captions")
    await expect(page.locator("#notice")).to_contain_text("Is this English?")
    # Faults are in the words of the page too; the server's are English, and for its log.
    await expect(page.locator("#notice")).to_contain_text("The recognizer failed at a sentence.")
    await expect(page.locator("#notice")).not_to_contain_text("died")


def unsure(socket: Any) -> None:
    """Pass everything on; four finals come for each, with little confidence, and a fault that ends nothing."""
    server = socket.connect_to_server()
    n = 0

    def pass_on(message: str | bytes) -> None:
        nonlocal n
        event = json.loads(message)
        if event["type"] != "final":
            socket.send(message)
            return
        fault = {"type": "error", "code": "worker_died", "message": "the inference process died", "fatal": False}
        socket.send(json.dumps(fault))
        for _ in range(4):
            unsure_final = {**event, "utterance": n, "confidence": 0.3, "text": "And the words are nonsense."}
            socket.send(json.dumps(unsure_final))
            n += 1

    server.on_message(pass_on)


async def test_no_state_of_an_event_breaks_a_rule_of_axe(scripted_server: Server, speaking_browser: Browser) -> None:
    async with await speaking_browser.new_context(bypass_csp=True) as context:
        page = await opened(context, scripted_server.url)
        await page.locator("#event summary").click()
        await shared_link(page)
        await page.get_by_label("Link name").fill("two words")
        await page.keyboard.press("Enter")
        await expect(page.locator("#share-name-problem")).not_to_be_empty()
        await assert_accessible(page, ALL_SCHEMES)
        await press(page, "Done")
        await assert_accessible(page)
        await press(page, "Start captions")
        await said(page)
        await press(page, "End event")
        await assert_accessible(page)
        await press(page, "Go on")
        await press(page, "Pause captions")
        await expect_state(page, "Paused")
        await assert_accessible(page)
        await end_event(page)
        await expect_state(page, "Ready")
        await assert_accessible(page)
        await page.evaluate("document.getElementById('taken-dialog').showModal()")
        await assert_accessible(page)
        await press(page, "Leave it")
        await page.evaluate("document.querySelector('token-dialog').ask(() => {}, { isRefused: false })")
        await assert_accessible(page)


async def test_a_presentation_fills_the_screen_and_shows_the_code_and_trouble_which_breaks_no_rule_of_axe(
    serve: Serve, context: BrowserContext
) -> None:
    """And neither do all warnings at once."""
    server = await serve(*SCRIPTED)
    page = await opened(context, server.url)
    await press(page, "Start captions")
    await said(page)
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("p")
    mark, code = page.locator("#stage-mark"), page.locator("#corner-code")
    await expect(mark).to_be_hidden()
    assert await page.locator("#roll-up").evaluate("lines => lines.clientHeight / innerHeight") > 0.8
    await page.keyboard.press("q")
    await expect(code).to_be_visible()
    beside = "([a, b]) => a.getBoundingClientRect().right <= b.getBoundingClientRect().left"
    assert await page.evaluate(beside, [await page.locator("#roll-up").element_handle(), await code.element_handle()])
    server.process.kill()
    await expect(mark).to_have_text("Reconnecting")
    await expect(mark).to_be_visible()
    await assert_accessible(page, ALL_SCHEMES)
    await page.keyboard.press("q")
    await expect(code).to_be_hidden()
    await page.keyboard.press("Escape")
    await expect(mark).to_be_hidden()
    await expect(page.locator("#notice")).to_contain_text("The connection is lost.")
    await page.evaluate("""async () => {
      const { Notices } = await import('/static/notices.js');
      const notices = new Notices(document.getElementById('notice'));
      for (const topic of ['level', 'network', 'server', 'language']) notices.show(topic, `Trouble: ${topic}.`);
    }""")
    await assert_accessible(page, ALL_SCHEMES)


# What a finger may miss: lower than 44 pixels, or narrower. The label of a switch belongs to it.
SMALL = """() => [...document.querySelectorAll("button, select, input, textarea, summary, nav a")]
    .filter((control) => control.checkVisibility())
    .map((control) => (control.role === "switch" ? control.closest("label") : control))
    .filter((control) => Math.min(control.offsetWidth, control.offsetHeight) < 44)
    .map((control) => control.outerHTML)"""


@pytest.mark.parametrize("width", [320, 390])
async def test_nothing_is_cut_off_or_too_small_for_a_finger_on_phones(
    scripted_server: Server, speaking_browser: Browser, width: int
) -> None:
    """In German, whose words are long."""
    phone = {"viewport": {"width": width, "height": 844}, "has_touch": True, "is_mobile": True, "locale": "de-DE"}
    async with await speaking_browser.new_context(**phone) as context:
        page = await opened(context, scripted_server.url)
        await expect(page.get_by_text("Leertaste").filter(visible=True)).to_have_count(0)
        await page.locator("#event summary").tap()
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        assert await page.evaluate(SMALL) == []
        # Each control has a row of its own, from side to side.
        sides = "controls => controls.map((control) => control.getBoundingClientRect().width)"
        widths = await page.locator("#start-stop, .fields select").evaluate_all(sides)
        assert widths == pytest.approx([widths[0]] * 3, abs=1)
        assert widths[0] > 0.85 * width
        assert await page.locator("header").evaluate("header => header.offsetHeight") < 150
        dialog = page.get_by_role("dialog")
        inside = "dialog => dialog.scrollWidth <= dialog.clientWidth"
        await page.locator("#share").tap()
        await expect(page.locator("#share-code")).to_have_attribute("src", re.compile("^data:image/svg"))
        assert await dialog.evaluate(inside)
        assert await page.evaluate(SMALL) == []
        await dialog.get_by_role("button", name="Fertig").tap()
        for path in ("", "watch/hall"):
            await page.goto(scripted_server.url + path)
            await page.locator("#open-options").tap()
            assert await dialog.evaluate(inside)
            assert await page.evaluate(SMALL) == []
            lists = "lists => lists.filter((list) => list.checkVisibility()).map((list) => list.offsetWidth)"
            assert len(set(await dialog.locator("select").evaluate_all(lists))) == 1


async def test_switches_show_their_state_where_the_system_sets_the_colors(
    scripted_server: Server, speaking_browser: Browser
) -> None:
    """The colors of the page are gone there. A box of the system's own shows whether it is ticked."""
    async with await speaking_browser.new_context(forced_colors="active") as context:
        page = await opened(context, scripted_server.url)
        private = page.get_by_label("Private")
        await expect(private).to_have_css("appearance", "auto")
        off = await private.screenshot()
        await private.check()
        assert await private.screenshot() != off
