"""Estimate how many hotwords the decoder is certain to get. Pure.

Only the inference process has the model's tokens. So they are estimated here, rather too many than too few:
docs/decisions/0036-hotwords.md.
"""

from collections.abc import Sequence

from livecaption.events import HotwordUse
from livecaption.recognition import MAX_HOTWORD_TOKENS

SEPARATOR_TOKENS = 1.0
LOWER_CASE_TOKENS = 0.4
SPACE_TOKENS = 0.2
OTHER_ASCII_TOKENS = 0.9
"""Capitals, digits and punctuation."""
TOKENS_OF_A_BYTE = 0.85
"""Tokens of a byte of UTF-8 beyond ASCII. Whisper has tokens for single bytes, so it never needs more than 1."""


def hotword_use(hotwords: Sequence[str]) -> HotwordUse | None:
    """Return how many of the hotwords are certain to be used; None: there are none."""
    if not hotwords:
        return None
    n_tokens, n_used = 0.0, 0
    for word in hotwords:
        n_tokens += SEPARATOR_TOKENS + sum(map(_tokens, word))
        if n_tokens > MAX_HOTWORD_TOKENS:
            break
        n_used += 1
    return HotwordUse(len(hotwords), n_used)


def _tokens(character: str) -> float:
    if not character.isascii():
        return TOKENS_OF_A_BYTE * len(character.encode())
    if character == " ":
        return SPACE_TOKENS
    return LOWER_CASE_TOKENS if character.islower() else OTHER_ASCII_TOKENS
