"""Choose how much audio the encoder gets for a window, and how widely the decoder searches. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from livecaption.audio import SAMPLE_RATE_HZ
from livecaption.recognition import MAX_WINDOW_MS, Effort, Window

FULL_CONTEXT_S = MAX_WINDOW_MS // 1000
# The same as `Search.min_context_s` for partials under load, because a runaway partial is not shown, and the next one
# follows soon.
MIN_REDUCED_CONTEXT_S = 8
# A doubtful final is decoded once more with more context, and its batch waits for it:
# docs/decisions/0004-encoder-context.md.
MIN_RETRY_CONTEXT_S = 16
RETRY_CONTEXT_MARGIN_S = 8


@dataclass(frozen=True, slots=True)
class Search:
    """Settings for the encoding and decoding of windows.

    A window of n seconds gets n + `context_margin_s`, at least `min_context_s`, at most 30. That is rounded up to
    `context_step_s`, so that windows of similar length share a pass. Silence follows the window. Less context makes the
    decoder run away. Figures: docs/decisions/0004-encoder-context.md.

    Attributes:
        beam_sizes: by whether a window is a final, and by its effort: docs/decisions/0005-beam-sizes.md.
    """

    min_context_s: int = 10
    context_margin_s: int = 2
    context_step_s: int = 2
    beam_sizes: Mapping[tuple[bool, Effort], int] = field(
        default_factory=lambda: {(True, "full"): 5, (True, "reduced"): 3, (False, "full"): 3, (False, "reduced"): 2}
    )

    def beam_size(self, window: Window) -> int:
        return self.beam_sizes[window.is_final, window.effort]

    def context_s(self, window: Window, *, full: bool = False, is_retry: bool = False) -> int:
        """Return the seconds of audio that the encoder gets for a window.

        Args:
            window: the window.
            full: 30 s for a window of any length.
            is_retry: more than for the first decoding.
        """
        if full:
            return FULL_CONTEXT_S
        min_s, margin_s = self.min_context_s, self.context_margin_s
        if is_retry:
            min_s, margin_s = MIN_RETRY_CONTEXT_S, RETRY_CONTEXT_MARGIN_S
        elif not window.is_final and window.effort == "reduced":
            min_s = MIN_REDUCED_CONTEXT_S
        needed_s = max(min_s, window.n_encoder_samples / SAMPLE_RATE_HZ + margin_s)
        return min(FULL_CONTEXT_S, math.ceil(needed_s / self.context_step_s) * self.context_step_s)


GPU_SEARCH = Search(context_step_s=10, beam_sizes=dict.fromkeys(Search().beam_sizes, 5))
"""The settings for a GPU, where a pass costs more than the windows in it: docs/decisions/0054-passes-on-a-gpu.md."""
