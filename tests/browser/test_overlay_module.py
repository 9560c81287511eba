"""static/overlay.js: what the address of an overlay asks for."""

from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

DEFAULTS = {
    "holdMs": 8000,
    "lines": None,
    "values": {"captionSize": 100, "captionColors": "white-on-black", "position": "bottom", "font": "sans"},
}


async def options(page: Page, query: str) -> Any:
    return await page.evaluate("async query => (await import('/overlay.js')).overlayOptions(query)", query)


async def test_only_an_overlay_takes_options_from_its_address(module_page: Page) -> None:
    assert await options(module_page, "?size=120") is None
    assert await options(module_page, "?overlay=0&size=120") is None
    assert await options(module_page, "?overlay=1") == DEFAULTS


async def test_every_option_is_taken(module_page: Page) -> None:
    query = "?overlay=1&hold=0&size=200&colors=yellow-on-black&position=top&lines=6&font=wide"
    assert await options(module_page, query) == {
        "holdMs": 0,
        "lines": 6,
        "values": {"captionSize": 200, "captionColors": "yellow-on-black", "position": "top", "font": "wide"},
    }


@pytest.mark.parametrize(
    "query",
    [
        "hold=-1&lines=0&size=49",
        "hold=601&lines=7&size=201",
        "hold=1.5&lines=two&size=1e2",
        "hold=&lines=&size=&colors=&position=&font=",
        "colors=red&position=left&font=Comic%20Sans",
    ],
)
async def test_a_wrong_value_is_ignored(module_page: Page, query: str) -> None:
    assert await options(module_page, f"?overlay=1&{query}") == DEFAULTS
