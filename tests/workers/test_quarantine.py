"""Audio that crashed its worker twice is recognized. Row 43 of the fault matrix."""

import numpy as np

from livecaption.recognition import TranscriptionOptions, Window
from livecaption.workers.quarantine import LIFETIME_S, MAX_ENTRIES, Quarantine


def window(level: float = 0.5, *, is_final: bool = True, **options: str) -> Window:
    return Window(np.full(1600, level, np.float32), TranscriptionOptions(**options), is_final=is_final)


def test_the_same_audio_and_options_are_known_again() -> None:
    quarantine = Quarantine()
    quarantine.add(window(), now_s=0.0)
    assert quarantine.holds(window(), now_s=1.0)
    assert quarantine.holds(window(is_final=False), now_s=1.0)


def test_the_language_does_not_matter_because_it_may_be_detected_earlier_or_later() -> None:
    quarantine = Quarantine()
    quarantine.add(window(), now_s=0.0)
    assert quarantine.holds(window(language="de"), now_s=1.0)


def test_other_audio_or_options_are_not() -> None:
    quarantine = Quarantine()
    assert not quarantine.holds(window(), now_s=0.0)
    quarantine.add(window(), now_s=0.0)
    assert not quarantine.holds(window(0.25), now_s=1.0)
    assert not quarantine.holds(window(prompt="Guten Tag."), now_s=1.0)


def test_it_is_forgotten_after_an_hour() -> None:
    quarantine = Quarantine()
    quarantine.add(window(), now_s=0.0)
    assert quarantine.holds(window(), now_s=LIFETIME_S - 1)
    assert not quarantine.holds(window(), now_s=LIFETIME_S)


def test_the_audio_that_was_added_first_makes_room() -> None:
    quarantine = Quarantine()
    for n in range(MAX_ENTRIES):
        quarantine.add(window(n / 100), now_s=n)
    quarantine.add(window(0.0), now_s=100)  # added again, so it is the newest now
    quarantine.add(window(0.99), now_s=101)
    assert len(quarantine) == MAX_ENTRIES
    assert quarantine.holds(window(0.0), now_s=102)
    assert not quarantine.holds(window(0.01), now_s=102)
