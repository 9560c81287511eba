"""Bring soft speech to a usual level before the model receives it.

Whisper's features have the level in them, and its no-speech probability rises as speech gets softer. At 25 dB below the
usual level it calls short commands silence. Figures: docs/decisions/0040-level.md.
"""

import numpy as np
import numpy.typing as npt

USUAL_PEAK = 0.5
"""Peak that soft windows get. Less: the softest words are taken for silence. More: samples would clip above 1."""
SOFT_PEAK = 0.1
"""Peak below which a window is soft. Higher: speech at a usual level is changed, at no gain. Lower: speech 20 dB below
the usual level is taken for silence."""


def usual_gain(samples: npt.NDArray[np.float32]) -> float:
    """Return by how much to amplify float32 [n_samples] of speech; 1 if they are not soft."""
    peak = float(np.abs(samples).max(initial=0.0))
    return USUAL_PEAK / peak if 0 < peak < SOFT_PEAK else 1.0
