"""static/silence.js: an answer may take its time as long as something comes."""

import pytest
from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

READ_SLOWLY = """async () => {
  const { fetchPatiently } = await import("/silence.js");
  const own = { fetch, setTimeout, clearTimeout };
  const due = new Map();
  let n = 0;
  let sent;
  Object.assign(window, {
    setTimeout: (call) => (due.set(++n, call), n),
    clearTimeout: (id) => due.delete(id),
    fetch: async (_, { signal }) => new Response(new ReadableStream({
      start(controller) {
        sent = controller;
        signal.onabort = () => controller.error(signal.reason);
      },
    })),
  });
  try {
    const reader = (await fetchPatiently("/", {}, 1000)).body.getReader();
    const timers = [];
    for (const letter of "abc") {
      sent.enqueue(new TextEncoder().encode(letter));
      await reader.read();
      timers.push([...due.keys()]);
    }
    const [last] = due.values();
    return { timers, end: await Promise.all([reader.read().catch((error) => error.name), last()]) };
  } finally {
    Object.assign(window, own);
  }
}"""
"""It reads a body in three parts, each of which comes before the time is over, and then nothing more comes."""


async def test_an_answer_is_given_up_when_nothing_has_come_for_too_long(module_page: Page) -> None:
    read = await module_page.evaluate(READ_SLOWLY)
    assert [len(due) for due in read["timers"]] == [1, 1, 1]
    assert len({timer for [timer] in read["timers"]}) == 3  # each part begins the time again
    assert read["end"][0] == "AbortError"
