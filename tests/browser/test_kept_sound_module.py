"""The sound that the page keeps, as far as it may be needed again."""

from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def kept_after(page: Page, steps: str) -> dict[str, Any]:
    """Keep ten chunks of ten samples, 0 to 99, and send the first four; return what is kept after these steps."""
    kept: dict[str, Any] = await page.evaluate(
        """async () => {
          const { KeptSound } = await import('/kept-sound.js');
          const sound = new KeptSound();
          for (let i = 0; i < 10; i++) sound.push(Int16Array.from({ length: 10 }, (_, k) => 10 * i + k));
          for (let i = 0; i < 4; i++) sound.next();
          let dropped = 0;
          STEPS;
          const places = { first: sound.firstSample, end: sound.endSample, waiting: sound.nWaitingSamples };
          const samples = [];
          for (let pcm = sound.next(); pcm; pcm = sound.next()) samples.push(...pcm);
          return { ...places, samples, dropped };
        }""".replace("STEPS", steps)
    )
    return kept


@pytest.mark.parametrize(
    ("steps", "first", "samples"),
    [
        ("", 0, range(40, 100)),
        ("sound.forget(25)", 20, range(40, 100)),
        ("sound.forget(99)", 40, range(40, 100)),  # what waits is never forgotten
        ("sound.rewind(25)", 25, range(25, 100)),
        ("sound.forget(25); sound.rewind(7)", 20, range(20, 100)),
        ("sound.rewind(40); sound.next(); sound.rewind(40)", 40, range(40, 100)),
    ],
)
async def test_sound_is_sent_again_from_where_it_is_needed(
    module_page: Page, steps: str, first: int, samples: range
) -> None:
    kept = await kept_after(module_page, steps)
    assert (kept["first"], kept["end"], kept["waiting"]) == (first, 100, len(samples))
    assert kept["samples"] == list(samples)


async def test_of_sound_that_waits_too_long_the_oldest_is_dropped(module_page: Page) -> None:
    """Sound that was sent stays, because the server may ask for it. New sound takes the place of the old."""
    kept = await kept_after(module_page, "dropped = sound.dropWaiting(25); sound.rewind(30)")
    assert (kept["dropped"], kept["first"], kept["end"]) == (40, 30, 60)
    assert kept["samples"] == [*range(30, 40), *range(80, 100)]


async def test_samples_of_several_channels_are_counted_once(module_page: Page) -> None:
    """Five samples of each of two channels are sent again from the third on."""
    kept = await module_page.evaluate(
        """async () => {
          const { KeptSound } = await import('/kept-sound.js');
          const sound = new KeptSound(2);
          sound.push(Int16Array.from({ length: 10 }, (_, k) => k));
          const waiting = sound.nWaitingSamples;
          sound.next();
          sound.rewind(2);
          return { waiting, first: sound.firstSample, end: sound.endSample, samples: [...sound.next()] };
        }"""
    )
    assert kept == {"waiting": 5, "first": 2, "end": 5, "samples": list(range(4, 10))}
