"""Accept a request with several `User-Agent` headers, of which the first counts.

aiohttp answers 400 to it since 3.13.4 (its pull request 12240), before any handler runs. `websockets` before 15 sends
two where a program sets its own (its issue 1583), as the programs of Deepgram and AssemblyAI do. All else stays as
strict as aiohttp's parser is.
"""

import re

MAX_HEAD_BYTES = 16 * 1024
"""The longest head that is looked at. A longer one goes to the parser as it is, which refuses it."""
END = b"\r\n\r\n"
# A line that the next one continues (RFC 9112, 5.2) stays, and the parser refuses it.
USER_AGENT = re.compile(rb"(?<=\r\n)user-agent:[^\r\n]*\r\n(?![ \t])", re.IGNORECASE)


def with_one_user_agent(head: bytes) -> bytes:
    """Return the head of a request, up to its empty line, without all `User-Agent` headers but the first."""
    first = USER_AGENT.search(head)
    if first is None:
        return head
    return head[: first.end()] + USER_AGENT.sub(b"", head[first.end() - 2 :])[2:]
