"""Audio that ended its worker twice, so that it does so no third time. Pure.

Known by the SHA-256 of samples and options, whatever is before them; neither audio nor text is kept. The oldest is
forgotten when there are too many, and each after an hour: a new version of a driver may take it.
"""

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
        """Keep away what this window holds, from `now_s` (monotonic) on."""
        fingerprint = _fingerprint(window)
        self._until_s.pop(fingerprint, None)
        self._until_s[fingerprint] = now_s + LIFETIME_S
        if len(self._until_s) > MAX_ENTRIES:
            del self._until_s[next(iter(self._until_s))]

    def holds(self, window: Window, now_s: float) -> bool:
        """Whether the same audio with the same options was added less than an hour ago."""
        # Hashing 30 s of audio takes a millisecond or two; nearly always there is nothing to compare with.
        return bool(self._until_s) and self._until_s.get(_fingerprint(window), now_s) > now_s


def _fingerprint(window: Window) -> bytes:
    return sha256(window.samples.tobytes() + repr(window.options).encode()).digest()
