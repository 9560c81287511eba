"""Turn the bytes of one stream into frames, and count the audio.

This module joins the PCM decoder, the resampler and the framer. It counts audio at the rate at which it was received.
So a publisher whose connection was lost can send again from the exact sample.
"""

import numpy as np

from livecaption.audio import SAMPLE_RATE_HZ, ms_of, samples_of
from livecaption.audio.encoding_check import EncodingCheck
from livecaption.audio.formats import CONTAINER, AudioFormat, PcmDecoder, Samples
from livecaption.audio.framing import Framer, Frames
from livecaption.audio.resampling import Resampler
from livecaption.errors import InvalidAudio, WrongState


class Intake:
    """The audio of one stream.

    Args:
        audio: format of the bytes.
        begin_ms: stream time of the first sample.
    """

    def __init__(self, audio: AudioFormat, begin_ms: int) -> None:
        # A container is decoded elsewhere, and its samples come in.
        self._decoder = None if audio.encoding == CONTAINER else PcmDecoder(audio)
        self._rate_hz = SAMPLE_RATE_HZ if self._decoder is None else audio.sample_rate_hz
        self._resampler = Resampler(self._rate_hz)
        self._framer = Framer()
        # Rounded up, so that `received_ms` is exactly this millisecond.
        self._first_sample = -(-begin_ms * self._rate_hz // 1000)
        self._received_samples = self._first_sample
        self._encoding_check = None if self._decoder is None else EncodingCheck(audio, self._first_sample)
        self._faults: list[InvalidAudio] = []
        self._found_non_finite = False

    @property
    def received_ms(self) -> int:
        """Stream time of the end of the received audio: whole samples, in milliseconds rounded down."""
        return ms_of(self._received_samples, self._rate_hz)

    @property
    def is_untouched(self) -> bool:
        """True if no whole sample has come yet."""
        return self._received_samples == self._first_sample

    def push(self, data: bytes | memoryview) -> Frames:
        """Take bytes of the declared encoding, cut anywhere.

        Raises:
            WrongState: the encoding is that of a container.
        """
        if self._decoder is None or self._encoding_check is None:
            raise WrongState("the bytes of a container go through its decoder")
        if hint := self._encoding_check.push(data):
            self._faults.append(InvalidAudio(hint, code="wrong_encoding", fatal=False))
        samples = self._decoder.push(data)
        self._received_samples += len(samples)
        if self._decoder.non_finite_samples and not self._found_non_finite:
            self._found_non_finite = True
            message = "the audio contains NaN or infinite samples; they are replaced by silence"
            self._faults.append(InvalidAudio(message, code="non_finite_audio", fatal=False))
        return self._framer.push(self._resampler.push(samples))

    def push_samples(self, samples: Samples) -> Frames:
        """Take samples of a container's decoder: float32 [n_samples], mono, 16 kHz, -1..1."""
        self._received_samples += len(samples)
        return self._framer.push(samples)

    def rewind(self) -> int:
        """Expect the audio again from the first sample of the returned millisecond.

        The samples of it that were received before are skipped. A sample that the end of the last message cut is
        expected again as a whole. So each sample counts once.

        Raises:
            WrongState: the audio is a container, and nobody can start reading in the middle of one.
        """
        if self._decoder is None or self._encoding_check is None:
            raise WrongState("a container cannot be read from the middle")
        first_again = samples_of(self.received_ms, self._rate_hz)
        self._decoder.rewind(self._received_samples - first_again)
        self._encoding_check.rewind(first_again)
        return self.received_ms

    def flush(self) -> Frames:
        """Return the rest at the end of the stream, padded with zeros to a whole frame."""
        if self._decoder is not None:
            try:
                self._decoder.flush()
            except InvalidAudio as error:
                self._faults.append(error)
        frames = self._framer.push(self._resampler.flush())
        self._resampler = Resampler(SAMPLE_RATE_HZ)  # the filters of another rate take 100 KB
        return np.concatenate((frames, self._framer.flush()))

    def take_faults(self) -> list[InvalidAudio]:
        """Return and forget the faults of the audio since the last call. Each kind is noted once."""
        taken, self._faults = self._faults, []
        return taken
