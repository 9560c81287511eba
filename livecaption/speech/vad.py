"""Judge frames as voiced or unvoiced, by two WebRTC VADs (Gaussian mixtures over six bands, fixed point) and the level.

The lenient VAD finds soft speech, but takes breath, reverberation and its own hangover for voice, so utterances would
end late. The strict VAD ends in time, but loses soft words. Where they differ the level decides: a frame that only the
lenient one calls voiced is voiced if it is not far below the recent speech.

Both expect speech at a usual level; speech 20 dB lower is mostly unvoiced to them. So a third VAD receives the audio
amplified. It counts where the noise between words is so faint that it stays unvoiced, and for frames that are not far
below the loudest recent speech, because those are breath and reverberation: docs/decisions/0038-soft-speech.md.

Both detect energy that resembles speech, so music, crying and most loud noise are voiced too. The engine judges later
whether there were words. Cost and figures: docs/decisions/0011-voice-activity.md.
"""

from collections import deque
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
AMPLIFICATION_DB = 24.0
"""Gain of the third VAD. Less: speech 36 dB below the usual level is lost. More: it counts in quiet rooms only."""
MAX_NOISE_FLOOR_DB = -57.0
"""Loudest noise floor in dB of full scale with which the third VAD counts. Higher: steady noise is voiced. Lower:
soft speech in noise is lost."""
NOISE_FLOOR_MS = 6_000
"""Time in ms whose quietest block is the noise floor. Shorter: speech without a pause counts as noise. Longer: the
third VAD counts on when noise has begun."""
NOISE_BLOCK_FRAMES = 10
"""Frames of a block. Their mean counts, because single frames are quiet within words."""
NOISY_DB = 14.0
"""Level of speech over the noise floor, in dB, below which the speech is noisy. Less: noisy speech counts as clear, and
wrong words are committed. More: words of clear speech are committed late. See docs/decisions/0043-words-in-noise.md."""
CLEAR_DB = 22.0
"""Level from which noisy speech is clear again. It is above `NOISY_DB`, because noise such as waves comes and goes."""
RELEASE_DB_PER_S = 30.0
"""Decay of the level of the loudest recent speech. Slower: a soft answer to a loud speaker loses its first words.
Faster: breath after speech is voiced."""
FRAME_BYTES = 2 * FRAME_SAMPLES


class VoiceActivityDetector:
    """Detector for one stream. It keeps state, so it must receive each frame exactly once, in order.

    Attributes:
        is_noisy: whether the recent speech is not far above the noise.
    """

    def __init__(self) -> None:
        self.is_noisy = False
        self._lenient = webrtcvad.Vad(LENIENT_AGGRESSIVENESS)
        self._strict = webrtcvad.Vad(STRICT_AGGRESSIVENESS)
        self._amplified = webrtcvad.Vad(LENIENT_AGGRESSIVENESS)
        self._speech_energy = 0.0  # mean of the recent frames that the strict VAD called voiced, as recorded
        self._loudest_energy = 0.0  # of the recent voiced frames, decaying
        self._noise = _NoiseFloor()

    def judge(self, frames: Frames, energies: Sequence[float]) -> list[bool]:
        """Return for each frame whether it is voiced.

        Args:
            frames: float32 [n_frames, 320], mono, 16 kHz, -1..1.
            energies: of the frames; see `EnergyMeter`.
        """
        lenient, strict, soft = self._lenient.is_speech, self._strict.is_speech, self._amplified.is_speech
        voiced = []
        for frame, amplified, energy in zip(*_pcm(frames), energies, strict=True):
            # All must receive every frame, because they adapt to the noise.
            leniently = lenient(frame, SAMPLE_RATE_HZ, FRAME_SAMPLES)
            strictly = strict(frame, SAMPLE_RATE_HZ, FRAME_SAMPLES)
            is_soft_speech = soft(amplified, SAMPLE_RATE_HZ, FRAME_SAMPLES)
            self._noise.push(energy)
            if leniently or strictly or is_soft_speech:
                voiced.append(self._is_voiced(leniently, strictly, is_soft_speech, energy))
            else:  # as in most frames
                self._loudest_energy *= _RELEASE
                voiced.append(False)
        if self._speech_energy:
            self.is_noisy = self._speech_energy < self._noise.energy * (_CLEAR if self.is_noisy else _NOISY)
        return voiced

    def _is_voiced(self, leniently: bool, strictly: bool, is_soft_speech: bool, energy: float) -> bool:
        """Return whether a frame is voiced that one of the detectors calls voiced."""
        is_soft = energy < self._speech_energy * _SOFT
        if strictly:
            self._speech_energy += FRAME_MS / LEVEL_MS * (energy - self._speech_energy)
        self._loudest_energy *= _RELEASE
        voiced = strictly or (leniently and not is_soft)
        if not voiced and is_soft_speech:
            voiced = self._noise.is_faint and energy > self._loudest_energy * _SOFT
        if voiced and energy > self._loudest_energy:
            self._loudest_energy = energy
        return voiced


class _NoiseFloor:
    """Energy of the noise between words: the quietest recent block of frames.

    Attributes:
        energy: of a frame; 0 until a block is complete.
        is_faint: False until a block is complete.
    """

    def __init__(self) -> None:
        self.energy = 0.0
        self.is_faint = False
        self._blocks: deque[float] = deque(maxlen=NOISE_FLOOR_MS // (NOISE_BLOCK_FRAMES * FRAME_MS))
        self._block: list[float] = []

    def push(self, energy: float) -> None:
        self._block.append(energy)
        if len(self._block) == NOISE_BLOCK_FRAMES:
            self._blocks.append(sum(self._block) / NOISE_BLOCK_FRAMES)
            self._block.clear()
            self.energy = min(self._blocks)
            self.is_faint = self.energy < _FAINT


def _pcm(frames: Frames) -> tuple[list[bytes], list[bytes]]:
    """Return each frame as 16-bit integers, clipped: as it is, and amplified."""
    scaled = frames * _SCALES
    if np.vdot(frames, frames) > _UNCLIPPED:  # an offset counts here
        scaled.clip(_LEAST, _MOST, out=scaled)
    pcm = scaled.astype("<i2").tobytes()
    cut = [pcm[begin : begin + FRAME_BYTES] for begin in range(0, len(pcm), FRAME_BYTES)]
    return cut[: len(frames)], cut[len(frames) :]


def _ratio(decibels: float) -> float:
    """Return a ratio of energies."""
    return float(10 ** (decibels / 10))


_SOFT = _ratio(-SOFT_SPEECH_DB)
_FAINT = FRAME_SAMPLES * _ratio(MAX_NOISE_FLOOR_DB)
_NOISY, _CLEAR = _ratio(NOISY_DB), _ratio(CLEAR_DB)
_RELEASE = _ratio(-RELEASE_DB_PER_S * FRAME_MS / 1000)
_UNCLIPPED = 0.9 * _ratio(-AMPLIFICATION_DB)
"""Squares of samples of which none can reach full scale when amplified, because its own would be more."""
_LEAST, _MOST = np.float32(-32768), np.float32(32767)  # to convert Python's numbers takes 1 us for a message
_SCALES = np.array([[[32768.0]], [[32768.0 * 10 ** (AMPLIFICATION_DB / 20)]]], np.float32)
