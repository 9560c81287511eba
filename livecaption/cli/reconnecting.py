"""Try a source of live audio again and again: a mixer desk or a broadcast comes back by itself."""

import asyncio
from collections.abc import Awaitable, Callable

from livecaption.cli.sources import Source
from livecaption.cli.terminal import complain, counted, reason
from livecaption.errors import LivecaptionError

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Time until the next attempt after many that failed. Longer: a source that is back is missed for longer. Shorter: a
source that is off is asked more often."""
LASTING_S = 10.0
"""An attempt that lasted longer was successful, so the next pause is the first one again."""


def next_pause_s(pause_s: float, lasted_s: float) -> float:
    """Return the pause after an attempt.

    Args:
        pause_s: the pause before it; 0: it was the first one.
        lasted_s: how long it lasted.
    """
    if not pause_s or lasted_s > LASTING_S:
        return FIRST_PAUSE_S
    return min(pause_s * 2, LONGEST_PAUSE_S)


async def again_and_again(source: Source, attempt: Callable[[], Awaitable[None]], stopped: asyncio.Event) -> None:
    """Make an attempt after the other until the event is set. Each failure is a line on stderr.

    Raises:
        StreamRefused: the server does not accept such a client, so another attempt changes nothing.
    """
    from livecaption.client import StreamRefused

    loop = asyncio.get_running_loop()
    pause_s = 0.0
    while not stopped.is_set():
        began_s = loop.time()
        why = "it has ended"
        try:
            await attempt()
        except StreamRefused as error:
            if error.retry_after_s is None:
                raise
            why = str(error)
        except (LivecaptionError, OSError) as error:
            why = reason(error)
        pause_s = next_pause_s(pause_s, loop.time() - began_s)
        if not stopped.is_set():
            why = why.removeprefix(f"{source.name}: ")
            complain(f"{source.name}: {why}; connecting again in {counted(round(pause_s), 'second')}")
            await _set_within(stopped, pause_s)


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
