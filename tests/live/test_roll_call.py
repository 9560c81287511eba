"""Silent publishers are asked whether they are still there, once for all new streams that come at a time."""

import asyncio

from livecaption.live.roll_call import RollCall


class Publisher:
    """A connection that counts how often it was asked."""

    def __init__(self) -> None:
        self.n_asked = 0
        self.answer = asyncio.Event()

    async def drop_if_dead(self) -> None:
        self.n_asked += 1
        await self.answer.wait()


async def test_new_streams_that_come_together_wait_for_one_answer() -> None:
    publisher, roll_call = Publisher(), RollCall()
    waiting = [asyncio.ensure_future(roll_call.hold([publisher])) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # one of them leaves
    publisher.answer.set()
    await asyncio.gather(*waiting[1:])
    assert publisher.n_asked == 1
    await roll_call.hold([publisher])  # too early for another one
    assert publisher.n_asked == 1
