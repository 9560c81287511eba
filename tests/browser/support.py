"""The browser tests share the places of things, the types of their fixtures, and how servers and pages end."""

import asyncio
import io
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import segno
from aiohttp import web
from aiohttp.test_utils import TestServer
from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.async_api import Browser, BrowserContext, Error, Page

ROOT = Path(__file__).resolve().parents[2]
WAIT_MS = 40_000
"""Time in which a page must show what a test expects. Playwright's own 5 s are too short on a busy machine."""


@dataclass(frozen=True)
class Server:
    """A running `livecaption serve`."""

    url: str
    process: asyncio.subprocess.Process

    @property
    def port(self) -> str:
        return self.url.rstrip("/").rpartition(":")[2]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


# `Launch` and `Serve` take flags of the command line, and `Launch` takes `whole` too.
Launch = Callable[..., Awaitable[Browser]]
Profile = Callable[[Browser], Awaitable[BrowserContext]]
Serve = Callable[..., Awaitable[Server]]

Scheme = Literal["light", "dark", "forced"]
ALL_SCHEMES: tuple[Scheme, ...] = ("light", "dark", "forced")
"""The colors of systems: light, dark, and those that the system forces on pages."""


@asynccontextmanager
async def emptied(context: BrowserContext) -> AsyncIterator[BrowserContext]:
    """Lend a profile to a test. Afterwards, close the test's pages and forget what they stored.

    An empty page of the servers' site stays first in it, because the process of its pages ends with the last of them.
    """
    if not context.pages:
        empty = await context.new_page()
        await empty.route("http://127.0.0.1/", lambda route: route.fulfill(body=""))
        await empty.goto("http://127.0.0.1/")
    try:
        yield context
    finally:
        await show_if_failed(context)
        for page in context.pages[1:]:
            if page.url.startswith("http"):
                await page.evaluate("localStorage.clear()")
            await page.close()


async def show_if_failed(context: BrowserContext) -> None:
    """Print what the pages show, and where they are, if the test has failed."""
    if not hasattr(sys, "last_value"):  # pytest sets it
        return
    for page in context.pages:
        with suppress(Error):
            print(f"--- {page.url} shows:", await page.locator("body").inner_text(timeout=2000), sep="\n")


VIOLATIONS = """async (options) => {
  const { violations } = await axe.run(options);
  return { violations };
}"""
"""It returns what axe found, without the long lists of rules that hold."""


async def assert_accessible(page: Page, schemes: Sequence[Scheme] = ("light", "dark")) -> None:
    """Assert that the page as it is breaks no rule of axe, on systems with these colors.

    Where only the colors of the system change, only the rules of colors can be broken by that.
    """
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    options: dict[str, list[str]] = {"resultTypes": ["violations"]}
    for scheme in schemes:
        forced: Literal["active", "none"] = "active" if scheme == "forced" else "none"
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", forced_colors=forced)
        results = AxeResults(await page.evaluate(VIOLATIONS, options))
        assert results.violations_count == 0, f"{scheme}: {results.generate_report()}"
        options["runOnly"] = ["cat.color"]
    await page.emulate_media(color_scheme="light", forced_colors="none")


def microphone(wav: Path) -> tuple[str, ...]:
    """Return the flags of a browser whose user has allowed the microphone; it plays a recording over and over."""
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={wav}",
    )


def drawn(link: str) -> bytes:
    """Draw a link as the server does."""
    svg = io.BytesIO()
    segno.make(link, error="m", micro=False).save(svg, kind="svg", xmldecl=False, scale=8, light="#fff")
    return svg.getvalue()


@asynccontextmanager
async def breaking_off() -> AsyncIterator[str]:
    """Run a server whose answers break off in the middle of their bodies. Yield its address."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.close()
        return response

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("/"))


@asynccontextmanager
async def serving(*flags: str) -> AsyncIterator[Server]:
    """Run a server with these flags until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "livecaption", "serve", "--port", "0", *flags),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    drained = None
    try:
        url = await _logged(process.stderr, r"listening on (https?://\S+)")
        await _logged(process.stderr, r"livecaption: (ready)$")
        # The pipe must be read, or the server would block when it is full.
        drained = asyncio.create_task(process.stderr.read())
        yield Server(url, process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if drained is not None:
            await drained


async def _logged(log: asyncio.StreamReader, pattern: str) -> str:
    """Wait for a line of the log; return what the pattern's group matched in it."""
    lines: list[str] = []
    async for line in log:
        lines.append(line.decode())
        if match := re.search(pattern, lines[-1]):
            return match[1]
    pytest.fail("the server did not start:\n" + "".join(lines))
