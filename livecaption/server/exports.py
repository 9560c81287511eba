"""Transcripts are laid out in threads: few at a time, and equal requests only once.

request ─> cached? ─> running? ─> room? ──yes─> waits ─> a thread ─> cached, if the transcript is complete
                                    └───no──> 503
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import web

from livecaption.errors import Unavailable
from livecaption.events import Final

MAX_AT_A_TIME = 2
MAX_WAITING = 8
"""Five hours of speech take 2 s, so the last of these waits for some 10 s at most."""
RETRY_AFTER_S = 2.0
MAX_KEPT_BYTES = 32 * 1024 * 1024
KEEP_S = 300.0
"""Time that an export is cached. An ended session can be read for as long, even if it was deleted or never stored."""
BUSY_S = 0.002
REST_S = 0.0001
"""A layout pauses for `REST_S` after each `BUSY_S` of work. Without the pause, the interpreter switches threads only
every 5 ms. A list of sessions, which calls SQLite for each row, would then take seconds beside two layouts."""

LayOut = Callable[[Iterable[Final]], str]


@dataclass(frozen=True, slots=True)
class Export:
    """One request for an export. Equal requests have the same text.

    Attributes:
        sessions: ids of the sessions in it: one, or all parts of a room.
        n_captions: number of finals and translations as long as a session runs; None if the transcript is complete.
        track: language of the text; None: the originals.
    """

    sessions: tuple[str, ...]
    format: str
    line_length: int
    n_captions: int | None
    track: str | None = None


def paced(finals: Iterable[Final], check: Callable[[], None]) -> Iterator[Final]:
    """Pass finals on to work in a thread, and rest between them: see `REST_S`.

    Args:
        finals: the finals.
        check: called before each rest. What it raises ends the work.
    """
    rest_at_s = 0.0
    for final in finals:
        if time.perf_counter() >= rest_at_s:
            check()
            time.sleep(REST_S)
            rest_at_s = time.perf_counter() + BUSY_S
        yield final


class _Layout:
    """One export that is being laid out, and the requests that wait for it."""

    def __init__(self) -> None:
        self.wanted_by: list[Callable[[], bool]] = []
        self.task: asyncio.Task[bytes | None]

    def is_wanted(self) -> bool:
        return any(wanted() for wanted in self.wanted_by)


class Exports:
    """All exports of a server. Used by the event loop; owns its threads until `close`.

    Args:
        max_kept_bytes: what is kept of texts that cannot change.
        keep_s: how long each of them is kept.
    """

    def __init__(self, *, max_kept_bytes: int = MAX_KEPT_BYTES, keep_s: float = KEEP_S) -> None:
        self._max_kept_bytes = max_kept_bytes
        self._keep_s = keep_s
        self._threads = ThreadPoolExecutor(MAX_AT_A_TIME, "layout")
        self._under_way: dict[Export, _Layout] = {}
        self._n_layouts = 0
        self._kept: OrderedDict[Export, bytes] = OrderedDict()
        self._n_kept_bytes = 0
        self._closed = False

    async def text(
        self,
        export: Export,
        finals: Callable[[], Awaitable[Iterable[Final]]],
        lay_out: LayOut,
        is_wanted: Callable[[], bool],
    ) -> bytes:
        """Return the export in UTF-8, laid out from `finals` by `lay_out`, which runs in a thread.

        Args:
            export: the request.
            finals: reads the finals.
            lay_out: turns finals into text.
            is_wanted: returns True while the client is connected; called from any thread.

        Raises:
            Unavailable: too many others are running, or the client has gone.
        """
        while True:
            if export in self._kept:
                self._kept.move_to_end(export)
                return self._kept[export]
            layout = self._under_way.get(export)
            if layout is None:
                layout = self._begin(export, finals, lay_out)
            layout.wanted_by.append(is_wanted)
            text = await asyncio.shield(layout.task)
            if text is not None:
                return text
            if not is_wanted() or self._closed:
                raise Unavailable("no client waits for this transcript any more")
            # The layout stopped because its other clients have gone, just as this one joined. Start again.

    def forget(self, session_id: str) -> None:
        """Remove all cached exports of this session, and cache none that is running."""
        for export in [export for export in self._kept if session_id in export.sessions]:
            self._drop(export)
        for export in [export for export in self._under_way if session_id in export.sessions]:
            del self._under_way[export]

    def close(self) -> None:
        """Stop the running layouts."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, export: Export, finals: Callable[[], Awaitable[Iterable[Final]]], lay_out: LayOut) -> _Layout:
        if self._n_layouts >= MAX_AT_A_TIME + MAX_WAITING:
            raise Unavailable("too many transcripts are requested at the moment", retry_after_s=RETRY_AFTER_S)
        layout = self._under_way[export] = _Layout()
        self._n_layouts += 1
        layout.task = asyncio.create_task(self._make(export, layout, finals, lay_out))
        return layout

    async def _make(
        self,
        export: Export,
        layout: _Layout,
        finals: Callable[[], Awaitable[Iterable[Final]]],
        lay_out: LayOut,
    ) -> bytes | None:
        try:
            given = await finals()
            text = await asyncio.get_running_loop().run_in_executor(self._threads, self._work, layout, given, lay_out)
            if text is not None and export.n_captions is None and self._under_way.get(export) is layout:
                self._keep(export, text)
            return text
        finally:
            self._n_layouts -= 1
            if self._under_way.get(export) is layout:
                del self._under_way[export]

    def _work(self, layout: _Layout, finals: Iterable[Final], lay_out: LayOut) -> bytes | None:
        """Lay out an export, in a thread. Return None if no client waits for it any more."""

        def check() -> None:
            if self._closed or not layout.is_wanted():
                raise _NobodyWaits

        try:
            return lay_out(paced(finals, check)).encode()
        except _NobodyWaits:
            return None

    def _keep(self, export: Export, text: bytes) -> None:
        self._kept[export] = text
        self._n_kept_bytes += len(text)
        asyncio.get_running_loop().call_later(self._keep_s, self._drop, export)
        while self._n_kept_bytes > self._max_kept_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, export: Export) -> None:
        self._n_kept_bytes -= len(self._kept.pop(export, b""))


class _NobodyWaits(Exception):
    """No client waits for this export any more."""


EXPORTS: web.AppKey[Exports] = web.AppKey("exports", Exports)
