"""static/meter.js: levels to a bar and warnings, as the browser computes them."""

from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

CHUNK_MS = 40
SILENCE = {"rms": 0.0, "peak": 0.0}
SPEECH = {"rms": 0.1, "peak": 0.4}
CLIPPED = {"rms": 0.5, "peak": 1.0}


async def meter_after(page: Page, *runs: tuple[dict[str, float], int]) -> Any:
    """Return the level in dB that the meter shows after runs of (level, milliseconds), and the warnings on the way."""
    return await page.evaluate(
        """async ([runs, chunkMs]) => {
          const { Meter } = await import('/meter.js');
          const element = document.createElement('div');
          const warnings = [];
          const meter = new Meter(element, (warning) => warnings.push(warning));
          for (const [level, ms] of runs)
            for (let passedMs = 0; passedMs < ms; passedMs += chunkMs) meter.push(level, chunkMs);
          return [Math.round(element.style.getPropertyValue('--level') * 60 - 60), warnings];
        }""",
        [runs, CHUNK_MS],
    )


async def test_the_bar_rises_at_once(module_page: Page) -> None:
    assert await meter_after(module_page, (SILENCE, 1000), (SPEECH, CHUNK_MS)) == [-20, []]


async def test_the_bar_falls_by_two_thirds_in_300_ms(module_page: Page) -> None:
    """exp(-280/300) of the 40 dB above the floor is left after seven chunks."""
    assert await meter_after(module_page, (SPEECH, 1000), (SILENCE, 280)) == [-44, []]


async def test_the_bar_ends_at_full_scale_and_at_the_floor(module_page: Page) -> None:
    assert await meter_after(module_page, ({"rms": 1.0, "peak": 0.9}, 1000)) == [0, []]
    assert await meter_after(module_page, ({"rms": 1e-7, "peak": 1e-7}, 1000)) == [-60, []]


async def test_five_seconds_without_signal_are_warned_of_until_sound_comes(module_page: Page) -> None:
    assert await meter_after(module_page, (SPEECH, 1000), (SILENCE, 4960)) == [-60, []]
    assert await meter_after(module_page, (SILENCE, 5000)) == [-60, ["no_signal"]]
    assert await meter_after(module_page, (SILENCE, 9000), (SPEECH, 1000)) == [-20, ["no_signal", ""]]


async def test_clipping_is_warned_of_for_two_seconds(module_page: Page) -> None:
    assert (await meter_after(module_page, (CLIPPED, CHUNK_MS), (SPEECH, 1960)))[1] == ["clipping"]
    assert (await meter_after(module_page, (CLIPPED, CHUNK_MS), (SPEECH, 2000)))[1] == ["clipping", ""]
