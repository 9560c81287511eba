"""The quarantine remembers audio that crashed a worker twice, so that it is never sent again. Pure.

An entry is the SHA-256 of the samples and options, without the language and the preceding utterance. Neither audio nor
text is kept. If there are too many entries, the oldest is removed. Each expires after an hour, because a new driver may
process the audio.
"""

from dataclasses import replace
from hashlib import sha256

from livecaption.recognition import Window

MAX_ENTRIES = 64
LIFETIME_S = 3600.0


class Quarantine:
    """The windows that must not be sent to a worker again."""

    def __init__(self) -> None:
        self._until_s: dict[bytes, float] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._until_s)

    def add(self, window: Window, now_s: float) -> None:
        """Add the audio of this window at `now_s` (monotonic)."""
        fingerprint = _fingerprint(window)
        self._until_s.pop(fingerprint, None)
        self._until_s[fingerprint] = now_s + LIFETIME_S
        if len(self._until_s) > MAX_ENTRIES:
            del self._until_s[next(iter(self._until_s))]

    def holds(self, window: Window, now_s: float) -> bool:
        """Return True if the same audio with the same options, in any language, was added less than an hour ago."""
        # Hashing 30 s of audio takes a millisecond or two, and the quarantine is nearly always empty.
        return bool(self._until_s) and self._until_s.get(_fingerprint(window), now_s) > now_s


def _fingerprint(window: Window) -> bytes:
    # The language of an utterance is known sooner or later, by the speed of the partials.
    options = replace(window.options, language=None)
    return sha256(window.samples.tobytes() + repr(options).encode()).digest()
