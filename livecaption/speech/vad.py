"""Frames -> voiced or unvoiced, by two WebRTC VADs (Gaussian mixtures over six bands, fixed point) and by level.

The lenient one hears soft speech, but takes breath, reverberation and its own hangover for voice: utterances would end
late. The strict one lets go in time, but loses soft words. So where they differ the level decides: a frame that only
the lenient one calls voiced is voiced if it is not far below the speech of late.

A frame costs 8 us on one core, 5 us in chunks of five, conversion included (one VAD: 5 and 2.5): a hundred streams
take 2 to 4 % of a core. Heard is energy that is like speech, and music, crying and most loud noise are taken for voice
too; whether anybody said words is for the engine to judge.
"""

from collections.abc import Sequence

import numpy as np
import webrtcvad

from livecaption.audio import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from livecaption.audio.framing import Frames

LENIENT_AGGRESSIVENESS = 2
STRICT_AGGRESSIVENESS = 3
SOFT_SPEECH_DB = 15
"""How far below the level of speech a frame may be and yet be voiced on the lenient one's word. Less: soft endings are
lost. More: what sounds after speech keeps utterances open. Figures: docs/decisions/0011-voice-activity.md."""
LEVEL_MS = 1_000
"""Time constant of the level of speech, in voiced time: docs/decisions/0011-voice-activity.md."""
FRAME_BYTES = 2 * FRAME_SAMPLES


class VoiceActivityDetector:
    """Judges one stream's frames. Keeps state: each frame is shown to it exactly once, in order."""

    def __init__(self) -> None:
        self._lenient = webrtcvad.Vad(LENIENT_AGGRESSIVENESS)
        self._strict = webrtcvad.Vad(STRICT_AGGRESSIVENESS)
        self._speech_energy = 0.0  # of a frame, by the strict one's voiced frames of late

    def judge(self, frames: Frames, energies: Sequence[float]) -> list[bool]:
        """For each frame, whether it is voiced.

        Args:
            frames: float32 [n_frames, 320], mono, 16 kHz, -1..1.
            energies: of each frame, the sum of its squared samples.
        """
        pcm = np.clip(frames * 32768.0, -32768.0, 32767.0).astype("<i2").tobytes()
        return [
            self._is_voiced(pcm[index * FRAME_BYTES : (index + 1) * FRAME_BYTES], energy)
            for index, energy in enumerate(energies)
        ]

    def _is_voiced(self, pcm: bytes, energy: float) -> bool:
        # Both hear every frame, for they adapt to the noise.
        leniently = self._lenient.is_speech(pcm, SAMPLE_RATE_HZ)
        strictly = self._strict.is_speech(pcm, SAMPLE_RATE_HZ)
        is_soft = energy < self._speech_energy * 10 ** (-SOFT_SPEECH_DB / 10)
        if strictly:
            self._speech_energy += FRAME_MS / LEVEL_MS * (energy - self._speech_energy)
        return strictly or (leniently and not is_soft)
