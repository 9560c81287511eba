"""Notice bytes that are not of the encoding that their publisher declared, so that it gets a hint. Pure.

A file begins with the signature of its format. Samples without one are judged by their sound. Read in a wrong encoding,
any audio is loud noise. So the check looks for parts that are loud noise as declared, and audio in another encoding.
Audio is smooth: neighbouring samples differ by less than the samples themselves. Figures:
docs/decisions/0035-wrong-encodings.md.
"""

import struct
from collections import Counter
from dataclasses import dataclass

import numpy as np

from livecaption.audio import samples_of
from livecaption.audio.formats import CONTAINER, READERS, SAMPLE_BYTES, AudioFormat, Samples

PART_MS = 250
"""Interval of the parts that are judged, in ms. Shorter: single sounds decide. Longer: the hint comes later."""
MAX_PART_BYTES = 8192
"""Bytes of a part, at most. Fewer: less certain. More: computing, which takes 1 ms for a part of loud noise."""
AGREEING_PARTS = 4
"""Parts that must look like the same other thing. Fewer: false alarms. More: the hint comes later."""
GOOD_PARTS = 8
"""Parts that sound as declared, after which the check ends. Fewer: chance decides. More: computing."""

MAX_COMPARED_PARTS = 40
"""Parts that are read in all encodings, at most. Fewer: loud noise at the beginning hides what follows. More: computing
for a client that sends noise for ever."""

# Two figures of a part: its roughness, which is 2 for white noise, and its root mean square, with full scale 1.
LOUD = 0.2
"""Root mean square from which noise may be audio that is read wrongly."""
AUDIBLE = 0.0005
"""Root mean square from which a part is no silence."""
SMOOTH = 0.5
"""Roughness up to which a part is audio."""
SMOOTHER = 3.0
"""Factor by which audio in another encoding must be smoother than the part as declared."""
ROUGH = 1.4
"""Roughness from which a part is noise."""
ROUGHEST = 3.0
"""Roughness above which a part is a high tone and no noise."""
MAX_CLIPPED = 0.05
"""Share of samples at full scale up to which a part is audio. Integers that are read as floats are huge or tiny."""
COMPRESSED = (1.8, 2.2), (0.5, 0.65)
"""Ranges of roughness and root mean square of compressed audio that is read as 16-bit integers: white and uniform."""
COMPRESSED_BITS = 7.7
"""Entropy from which a byte belongs to compressed audio, in bits."""

SIGNATURES = {
    (0, b"RIFF"): "a WAV file",
    (0, b"RF64"): "a WAV file",
    (0, b"OggS"): "an Ogg file",
    (0, b"\x1aE\xdf\xa3"): "a WebM or Matroska file",
    (0, b"fLaC"): "a FLAC file",
    (0, b"ID3"): "an MP3 file",
    (4, b"ftyp"): "an MP4 file",
    (0, b"FORM"): "an AIFF file",
    (0, b"caff"): "a CAF file",
    (0, b".snd"): "an AU file",
    (0, b"#!AMR"): "an AMR file",
    (0, b"0&\xb2u\x8ef\xcf\x11"): "an ASF or WMA file",
}
"""Kinds of files by bytes that they have, and the position of these."""
WAV_FORMAT = struct.Struct("<12x4s4x2xHI")
"""The beginning of a WAV file up to its sample rate: the name of the first chunk, channels, Hz."""

IN_A_CONTAINER = f"send it with the encoding {CONTAINER}"


@dataclass(frozen=True, slots=True)
class _Look:
    """Something that bytes look like: its name for people, the encoding to read it in, the bytes to swap before."""

    name: str
    encoding: str
    n_swapped: int = 1


LOOKS = (
    *(_Look(encoding, encoding) for encoding in SAMPLE_BYTES),
    _Look("big-endian 16-bit integers", "pcm_s16le", 2),
    _Look("big-endian 32-bit floats", "pcm_f32le", 4),
)


class EncodingCheck:
    """The check of one stream. It gives one hint at most.

    Args:
        audio_format: the declared format, which is no container.
        first_sample: number of the first sample (of each channel) that comes.
    """

    def __init__(self, audio_format: AudioFormat, first_sample: int = 0) -> None:
        self._declared = audio_format.encoding
        self._channels = audio_format.channels
        self._block_bytes = SAMPLE_BYTES[self._declared] * self._channels
        self._unit_bytes = 24 * self._channels  # whole samples of any encoding
        interval_bytes = samples_of(PART_MS, audio_format.sample_rate_hz) * self._block_bytes
        self._interval_bytes = interval_bytes // self._unit_bytes * self._unit_bytes
        self._part_bytes = min(self._interval_bytes, MAX_PART_BYTES // self._unit_bytes * self._unit_bytes)
        self._looks: Counter[str] = Counter()
        self._n_good = 0
        self._n_compared = 0
        self._is_over = False
        self.rewind(first_sample)

    def rewind(self, n_samples: int) -> None:
        """Expect the audio from this sample (of each channel) on."""
        self._part = bytearray()
        begin = n_samples * self._block_bytes
        self._begins = begin == 0
        self._n_skipped_bytes = -begin % self._unit_bytes

    def push(self, data: bytes | bytearray | memoryview) -> str:
        """Take the next bytes. Return what they look like, for people; empty: they look right, or the check is over."""
        while data and not self._is_over:
            n_skipped = min(self._n_skipped_bytes, len(data))
            self._n_skipped_bytes -= n_skipped
            n_taken = min(len(data) - n_skipped, self._part_bytes - len(self._part))
            self._part += data[n_skipped : n_skipped + n_taken]
            data = data[n_skipped + n_taken :]
            if len(self._part) == self._part_bytes:
                hint = self._hint()
                self._part.clear()
                self._n_skipped_bytes = self._interval_bytes - self._part_bytes
                if hint:
                    self._is_over = True
                    return f"{self._declared} was declared, but {hint}"
        return ""

    def _hint(self) -> str:
        part = bytes(self._part)
        if self._begins:
            self._begins = False
            if kind := _kind_of_file(part):
                return f"the audio begins like {kind}: {IN_A_CONTAINER}"
        look = self._look(part)
        self._looks[look] += 1
        self._is_over = self._n_good >= GOOD_PARTS or self._n_compared >= MAX_COMPARED_PARTS
        if not look or self._looks[look] < AGREEING_PARTS:
            return ""
        return f"the audio looks like {look}"

    def _look(self, part: bytes) -> str:
        """Return what this part looks like, if it is something else than declared."""
        declared = _read(part, _Look("", self._declared))
        roughness, level = self._figures(declared)
        if level < AUDIBLE:
            return ""
        # 16-bit integers in 32 bits have zeros between them.
        if roughness > ROUGHEST or (level < LOUD and declared[::2].any()):
            self._n_good += roughness < 1
            return ""
        self._n_compared += 1
        others = {}
        for look in LOOKS:
            # The two encodings of G.711 sound alike.
            if look.name == self._declared or {look.name, self._declared} == {"mulaw", "alaw"}:
                continue
            samples = _read(part, look)
            others_roughness, others_level = self._figures(samples)
            is_clipped = np.count_nonzero(np.abs(samples) >= 1) > MAX_CLIPPED * len(samples)
            if others_level >= AUDIBLE and not is_clipped and not self._is_tone(declared, look):
                others[look.name] = others_roughness
        name = min(others, key=others.__getitem__, default="")
        if name and others[name] <= SMOOTH and others[name] * SMOOTHER <= roughness:
            return name
        if roughness >= ROUGH and self._is_compressed(part):
            return f"compressed audio: {IN_A_CONTAINER}, in a container such as WebM or Ogg"
        self._n_good += roughness < 1
        return ""

    def _is_tone(self, declared: Samples, look: _Look) -> bool:
        """Return True if the part is a tone that longer samples would fold into a low one.

        Where the samples are longer indeed, their lower bytes are noise, or zero.
        """
        n_declared, n_rest = divmod(SAMPLE_BYTES[look.encoding], SAMPLE_BYTES[self._declared])
        if n_declared < 2 or n_rest:
            return False
        figures = (self._figures(declared[place::n_declared]) for place in range(n_declared))
        return all(roughness <= SMOOTH and level >= AUDIBLE for roughness, level in figures)

    def _is_compressed(self, part: bytes) -> bool:
        shares = np.bincount(np.frombuffer(part, np.uint8), minlength=256) / len(part)
        shares = shares[shares > 0]
        bits = -float((shares * np.log2(shares)).sum())
        # Integers that are right have white noise in their lower bits only.
        integers = {"pcm_s16le", self._declared} & {"pcm_s16le", "pcm_s24le", "pcm_s32le"}
        return bits >= COMPRESSED_BITS and all(self._is_white(_read(part, _Look("", name))) for name in integers)

    def _is_white(self, samples: Samples) -> bool:
        """Return True if samples are as rough and loud as uniform noise. Every second sample of a tone is not."""
        (least, most), (softest, loudest) = COMPRESSED
        n_halved = len(samples) // (2 * self._channels) * self._channels
        figures = (self._figures(samples), self._figures(samples[: 2 * n_halved : 2]))
        return all(least <= roughness <= most and softest <= level <= loudest for roughness, level in figures)

    def _figures(self, samples: Samples) -> tuple[float, float]:
        """Return roughness and root mean square of interleaved samples.

        The roughness is the mean square of the differences of neighbouring samples, relative to that of the samples.
        """
        by_channel = samples.reshape(-1, self._channels)
        by_channel = by_channel - by_channel.mean(axis=0)
        power = _mean_square(by_channel)
        if not power:
            return 0.0, 0.0
        return _mean_square(by_channel[1:] - by_channel[:-1]) / power, power**0.5


def _mean_square(values: Samples) -> float:
    return float(np.vdot(values, values)) / values.size


def _read(part: bytes, look: _Look) -> Samples:
    if look.n_swapped > 1:
        part = np.frombuffer(part, np.uint8).reshape(-1, look.n_swapped)[:, ::-1].tobytes()
    return READERS[look.encoding](part, len(part) // SAMPLE_BYTES[look.encoding])[0]


def _kind_of_file(beginning: bytes) -> str:
    """Return the kind of the file that begins so; empty: no known one."""
    for (place, signature), kind in SIGNATURES.items():
        if beginning[place:].startswith(signature):
            chunk, n_channels, rate_hz = WAV_FORMAT.unpack_from(beginning)
            return f"{kind} ({rate_hz} Hz, channels: {n_channels})" if chunk == b"fmt " else kind
    return ""
