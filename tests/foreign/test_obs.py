"""`obsws-python`, with the stand-in for OBS that the tests of sinks use: so it is a faithful one."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from tests.support.foreign import client as imported
from tests.support.receivers import Obs

obsws_python = imported("obsws_python")

PASSWORD = "the password of an OBS"


@pytest.fixture
async def obs() -> AsyncIterator[Obs]:
    running = await Obs(PASSWORD).start()
    yield running
    await running.close()


async def test_the_stand_in_serves_a_client_of_others(obs: Obs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "obsws_python")

    def use() -> None:
        with obsws_python.ReqClient(host="127.0.0.1", port=obs.port, password=PASSWORD, timeout=5) as client:
            assert client.get_version().rpc_version == 1
            client.send_stream_caption("Said by another client.")

    await asyncio.to_thread(use)
    assert obs.captions == ["Said by another client."]
    obs.streams = False
    with pytest.raises(obsws_python.error.OBSSDKRequestError, match="501"):
        await asyncio.to_thread(use)
