"""A server with sinks from a file: their captions are complete, and it stops in order also beside a stuck service."""

import signal
from pathlib import Path

import pytest

from tests.support.processes import assert_clean_end, serving
from tests.support.receivers import STUCK, receiving
from tests.support.streaming import speaking

pytestmark = pytest.mark.processes

ROOM = {"name": "pycon", "secret": "the secret of a room"}
SECTION = '[[sink]]\nroom = "pycon"\nname = "{name}"\nservice = "streamtext"\nurl = "{url}"\n'


async def test_a_stop_in_mid_sentence_sends_every_word_also_beside_a_service_that_is_stuck(tmp_path: Path) -> None:
    """The log has no address."""
    async with receiving() as good, receiving() as stuck:
        stuck.always = STUCK
        good.outcomes.extend([200, 503])
        file = tmp_path / "sinks.toml"
        file.write_text(SECTION.format(name="good", url=good.url) + SECTION.format(name="stuck", url=stuck.url))
        async with serving("--sinks", str(file)) as server:
            url = await server.ready()
            async with speaking(url, pace=2.0, room=ROOM) as [publisher]:
                await publisher.streamed(6)
                server.send(signal.SIGTERM)
                assert await server.exited(5) == 0
            publisher.check_complete()
            await assert_clean_end(server)
        assert " ".join(" ".join(good.texts).split()) == publisher.text
        assert stuck.posts
        assert " ERROR " not in server.output
        assert "signature" not in server.output


async def test_a_file_that_cannot_be_used_ends_the_start_without_showing_it(tmp_path: Path) -> None:
    file = tmp_path / "sinks.toml"
    file.write_text(SECTION.format(name="good", url="ftp://example.org/a-secret"))
    async with serving("--sinks", str(file)) as server:
        assert await server.exited(10) == 3
    assert "sinks.toml: sink 1: url must be an address" in server.output
    assert "a-secret" not in server.output
