"""Judge frames as voiced or unvoiced, by two WebRTC VADs (Gaussian mixtures over six bands, fixed point) and the level.

The lenient VAD finds soft speech, but takes breath, reverberation and its own hangover for voice, so utterances would
end late. The strict VAD ends in time, but loses soft words. Where they differ the level decides: a frame that only the
lenient one calls voiced is voiced if it is not far below the recent speech.

Both detect energy that resembles speech, so music, crying and most loud noise are voiced too. The engine judges later
whether there were words. Cost and figures: docs/decisions/0011-voice-activity.md.
"""

from collections.abc import Sequence

import numpy as np
import webrtcvad

from livecaption.audio import FRAME_MS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from livecaption.audio.framing import Frames

LENIENT_AGGRESSIVENESS = 2
STRICT_AGGRESSIVENESS = 3
SOFT_SPEECH_DB = 15
"""Level of a frame below the level of speech, in dB, up to which the lenient VAD alone can call it voiced. Less: soft
endings are lost. More: sounds after speech keep utterances open. See docs/decisions/0011-voice-activity.md."""
LEVEL_MS = 1_000
"""Time constant of the level of speech, in ms of voiced time: docs/decisions/0011-voice-activity.md."""
FRAME_BYTES = 2 * FRAME_SAMPLES


class VoiceActivityDetector:
    """Detector for one stream. It keeps state, so it must receive each frame exactly once, in order."""

    def __init__(self) -> None:
        self._lenient = webrtcvad.Vad(LENIENT_AGGRESSIVENESS)
        self._strict = webrtcvad.Vad(STRICT_AGGRESSIVENESS)
        self._speech_energy = 0.0  # mean of the frames that the strict VAD recently called voiced

    def judge(self, frames: Frames, energies: Sequence[float]) -> list[bool]:
        """Return for each frame whether it is voiced.

        Args:
            frames: float32 [n_frames, 320], mono, 16 kHz, -1..1.
            energies: for each frame, the sum of its squared samples.
        """
        pcm = np.clip(frames * 32768.0, -32768.0, 32767.0).astype("<i2").tobytes()
        return [
            self._is_voiced(pcm[index * FRAME_BYTES : (index + 1) * FRAME_BYTES], energy)
            for index, energy in enumerate(energies)
        ]

    def _is_voiced(self, pcm: bytes, energy: float) -> bool:
        # Both must receive every frame, because they adapt to the noise.
        leniently = self._lenient.is_speech(pcm, SAMPLE_RATE_HZ)
        strictly = self._strict.is_speech(pcm, SAMPLE_RATE_HZ)
        is_soft = energy < self._speech_energy * 10 ** (-SOFT_SPEECH_DB / 10)
        if strictly:
            self._speech_energy += FRAME_MS / LEVEL_MS * (energy - self._speech_energy)
        return strictly or (leniently and not is_soft)
