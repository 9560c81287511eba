"""The formats that may be decoded. FFmpeg reads hundreds, and each is a parser that an attacker may try.

Streams come from strangers. Local files are chosen by the person who runs the command, so their list has all formats in
which people keep speech. Both are decoded in the same sandbox. The reasons are in
docs/decisions/0003-decoder-processes.md and 0033-formats-of-files.md.
"""

from dataclasses import dataclass, field

_STREAM_FORMATS = (
    *("wav", "matroska", "webm", "ogg", "flac", "mp3", "mov", "mp4", "aac", "aiff", "amr", "asf", "au", "avi", "caf"),
    *("mpegts", "w64"),
)
_FILE_FORMATS = (
    *("flv", "mpeg", "ac3", "eac3", "dts", "dtshd", "truehd", "wv", "tta", "nut", "voc", "mxf", "ape", "mpc", "mpc8"),
    *("sox", "nistsphere", "dss", "loas", "rm", "wtv", "dsf", "ircam"),
)
_STREAM_CODECS = (
    *("pcm_s8", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_mulaw", "pcm_alaw"),
    *("adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "opus", "libopus", "vorbis", "flac", "alac", "aac", "aac_latm"),
    *("mp2", "mp2float", "mp3", "mp3float", "ac3", "eac3", "amrnb", "amrwb", "libopencore_amrnb"),
    *("libopencore_amrwb", "wmav1", "wmav2", "wmapro"),
)
_FILE_CODECS = (
    *("pcm_s8_planar", "pcm_s16le_planar", "pcm_s16be_planar", "pcm_s24le_planar", "pcm_s32le_planar", "pcm_u16le"),
    *("pcm_u16be", "pcm_u24le", "pcm_u24be", "pcm_u32le", "pcm_u32be", "pcm_s64le", "pcm_s64be", "pcm_dvd"),
    *("pcm_bluray", "pcm_f16le", "pcm_f24le", "s302m", "dca", "truehd", "mlp", "mp1", "mp1float", "wavpack", "tta"),
    *("ape", "mpc7", "mpc8", "dss_sp", "gsm", "gsm_ms", "g722", "g723_1", "g726", "g726le", "g729", "speex"),
    *("nellymoser", "truespeech", "wmavoice", "wmalossless", "cook", "sipr", "real_144", "real_288", "shorten"),
    *("adpcm_swf", "adpcm_yamaha", "adpcm_sbpro_2", "adpcm_sbpro_3", "adpcm_sbpro_4", "adpcm_ct"),
    *("dsd_lsbf", "dsd_msbf", "dsd_lsbf_planar", "dsd_msbf_planar", "qcelp", "evrc"),
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The kinds of containers that are accepted.

    Attributes:
        formats: demuxers that may be used, by FFmpeg's names.
        codecs: decoders that its bytes may reach, by FFmpeg's names.
        probe_bytes: bytes that FFmpeg reads, at most, to find the tracks.
        probe_us: audio that FFmpeg reads, at most, to find the tracks, in microseconds.
        protocols: ways by which FFmpeg may fetch bytes itself, by its names.
    """

    formats: tuple[str, ...]
    codecs: frozenset[str]
    probe_bytes: int
    probe_us: int
    protocols: tuple[str, ...] = ()
    options: dict[str, str] = field(init=False, repr=False)
    """Options for FFmpeg."""

    def __post_init__(self) -> None:
        options = {
            # No playlists and no addresses: a stream could use them to make FFmpeg open files and hosts of its choice.
            "format_whitelist": ",".join(self.formats),
            "protocol_whitelist": ",".join(self.protocols),
            "codec_whitelist": ",".join(sorted(self.codecs)),
            "probesize": str(self.probe_bytes),
            "analyzeduration": str(self.probe_us),
        }
        object.__setattr__(self, "options", options)


# The headers contain everything we need. FFmpeg's defaults (5 MB, 5 s) delay the start of a WAV by seconds. Fewer bytes
# gain nothing. Data without audio is refused after 1 MB, with any values.
STREAMS = Accepted(_STREAM_FORMATS, frozenset(_STREAM_CODECS), probe_bytes=65_536, probe_us=1)
# FFmpeg's defaults: the audio of a film on a disc may begin after megabytes of pictures, and nobody waits for words.
FILES = Accepted(
    _STREAM_FORMATS + _FILE_FORMATS,
    frozenset(_STREAM_CODECS + _FILE_CODECS),
    probe_bytes=5_000_000,
    probe_us=5_000_000,
)
# An encoder sends its header first, and nobody waits longer than for a stream.
BROADCASTS = Accepted(
    ("flv",),
    frozenset((*_STREAM_CODECS, "speex", "nellymoser", "adpcm_swf")),
    probe_bytes=65_536,
    probe_us=100_000,
    protocols=("rtmp", "rtmps", "tcp", "tls"),
)
