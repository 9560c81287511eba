"""static/captions.js: which utterances are in the live lines, and in which order."""

from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def lines_after(page: Page, *events: tuple[str, int]) -> Any:
    """Return the lines after these partials and finals. Utterance N is on channel N, and its text is the event."""
    return await page.evaluate(
        """async (events) => {
          const { RollUp } = await import('/captions.js');
          const [viewport, lines] = [document.createElement('div'), document.createElement('div')];
          document.body.replaceChildren(viewport);
          viewport.append(lines);
          const rollUp = new RollUp(viewport, lines);
          rollUp.beginSession('en');
          for (const [type, utterance] of events) {
            const caption = { utterance, text: `${type} ${utterance}`, language: 'en', channel: utterance };
            if (type === 'partial') rollUp.showPartial({ ...caption, stable: '' });
            else rollUp.showFinal(caption);
          }
          return [...lines.querySelectorAll('bdi')].map((words) => words.textContent);
        }""",
        events,
    )


async def test_of_eight_people_who_speak_at_once_none_vanishes(module_page: Page) -> None:
    all_speak = [("partial", n) for n in range(8)]
    assert await lines_after(module_page, *all_speak) == [f"partial {n}" for n in range(8)]
    six_have_ended = [*all_speak, *(("final", n) for n in range(2, 8))]
    assert (await lines_after(module_page, *six_have_ended))[-2:] == ["partial 0", "partial 1"]
    all_have_ended = [*six_have_ended, ("final", 0), ("final", 1)]
    assert (await lines_after(module_page, *all_have_ended))[-2:] == ["final 0", "final 1"]


async def test_lines_that_have_ended_make_room_for_open_ones(module_page: Page) -> None:
    events = [("partial", 0), *(("final", n) for n in range(1, 19)), ("partial", 19)]
    assert await lines_after(module_page, *events) == [*(f"final {n}" for n in range(5, 19)), "partial 0", "partial 19"]


async def test_open_lines_are_last_and_in_order_when_their_first_partials_are_not(module_page: Page) -> None:
    opened = [("partial", 3), ("partial", 2), ("partial", 1)]
    assert await lines_after(module_page, *opened) == ["partial 1", "partial 2", "partial 3"]
    assert await lines_after(module_page, *opened, ("final", 2)) == ["final 2", "partial 1", "partial 3"]
