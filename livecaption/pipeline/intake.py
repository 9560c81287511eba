"""Turn the bytes of one stream into samples at 16 kHz, and count the audio.

This module joins the PCM decoder and the resampler. It counts audio at the rate at which it was received. So a
publisher whose connection was lost can send again from the exact sample.
"""

from livecaption.audio import SAMPLE_RATE_HZ, ms_of, samples_of
from livecaption.audio.encoding_check import EncodingCheck
from livecaption.audio.formats import CONTAINER, AudioFormat, ChannelMode, PcmDecoder, Samples
from livecaption.audio.resampling import Resampler
from livecaption.errors import InvalidAudio, WrongState


class Intake:
    """The audio of one stream.

    Args:
        audio: format of the bytes.
        begin_ms: stream time of the first sample.
        channel_mode: `mix`: the samples are mono. `separate`: [n_samples, n_channels].
    """

    def __init__(self, audio: AudioFormat, begin_ms: int, channel_mode: ChannelMode = "mix") -> None:
        # A container is decoded elsewhere, and its samples come in.
        self._decoder = None if audio.encoding == CONTAINER else PcmDecoder(audio, channel_mode)
        self._rate_hz = SAMPLE_RATE_HZ if self._decoder is None else audio.sample_rate_hz
        self._n_channels = audio.channels if channel_mode == "separate" else None
        self._resampler = Resampler(self._rate_hz, self._n_channels)
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

    def push(self, data: bytes | memoryview) -> Samples:
        """Take bytes of the declared encoding, cut anywhere. Return float32 samples at 16 kHz, -1..1.

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
        return self._resampler.push(samples)

    def count(self, samples: Samples) -> None:
        """Count samples of a container's decoder, which have 16 kHz already."""
        self._received_samples += len(samples)

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

    def flush(self) -> Samples:
        """Return the rest at the end of the stream."""
        if self._decoder is not None:
            try:
                self._decoder.flush()
            except InvalidAudio as error:
                self._faults.append(error)
        rest = self._resampler.flush()
        self._resampler = Resampler(SAMPLE_RATE_HZ, self._n_channels)  # the filters of another rate take 100 KB
        return rest

    def take_faults(self) -> list[InvalidAudio]:
        """Return and forget the faults of the audio since the last call. Each kind is noted once."""
        if not self._faults:
            return []  # as after nearly every message
        taken, self._faults = self._faults, []
        return taken
