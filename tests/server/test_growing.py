"""The WebVTT of a running session is kept while clients request it."""

import weakref

from livecaption.server.growing import MAX_GROWING, GrowingTranscripts
from tests.support.eventually import eventually


async def test_equal_requests_go_on_with_one_text_until_there_are_too_many() -> None:
    growing = GrowingTranscripts()
    first, narrow = growing.of("one", 37), growing.of("one", 32)
    for n in range(MAX_GROWING - 2):
        growing.of(str(n), 37)
    assert growing.of("one", 37) is first
    growing.of("one more", 37)
    assert growing.of("one", 37) is first
    assert growing.of("one", 32) is not narrow
    growing.forget("one")
    assert growing.of("one", 37) is not first


async def test_a_text_that_nobody_requests_goes_after_a_while() -> None:
    """So it goes no later than a session that is over, which is not stored."""
    growing = GrowingTranscripts(keep_s=0.0)
    kept = weakref.ref(growing.of("one", 37))
    await eventually(lambda: kept() is None)
