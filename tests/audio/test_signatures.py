"""Files are named by their first bytes."""

from livecaption.audio.signatures import HEAD_BYTES, kind_of
from tests.support.cases import for_each
from tests.support.containers import Track, container, tone, wav

MADE = {
    "WAV": ("wav", "pcm_s16le"),
    "AVI": ("avi", "pcm_s16le"),
    "AIFF": ("aiff", "pcm_s16be"),
    "Matroska or WebM": ("webm", "libopus"),
    "Ogg": ("ogg", "libopus"),
    "FLAC": ("flac", "flac"),
    "MP4": ("mp4", "aac"),
    "AU": ("au", "pcm_s16be"),
    "CAF": ("caf", "pcm_s16le"),
    "W64": ("w64", "pcm_s16le"),
    "ASF": ("asf", "pcm_s16le"),
    "FLV": ("flv", "aac"),
    "MPEG program stream": ("vob", "ac3"),
    "AC-3": ("ac3", "ac3"),
    "WavPack": ("wv", "wavpack"),
    "TTA": ("tta", "tta"),
    "NUT": ("nut", "pcm_s16le"),
    "VOC": ("voc", "pcm_s16le"),
    "SoX": ("sox", "pcm_s32le"),
    "MPEG-TS": ("mpegts", "aac"),
    "MP3": ("mp3", "libmp3lame"),
}


@for_each("kind", MADE)
def test_a_container_is_named(kind: str) -> None:
    name, codec = MADE[kind]
    rate_hz = 44_100 if name == "flv" else 48_000
    data = container(name, [Track(tone(rate_hz, 0.2), codec, rate_hz)])
    assert kind_of(data[:HEAD_BYTES]) == kind


@for_each(
    ("head", "kind"),
    [
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04\x14\0", "a ZIP archive or office document"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9", "a playlist"),
        (b"The quick brown fox jumps over the lazy dog.", "text"),
        (b"\x7f\xfe\x80\x01\xfc\x3c", "DTS"),
        (wav(b"")[:20], "WAV"),
        (b"", None),
        (b"R", None),
        (bytes(300), None),
    ],
)
def test_other_files_are_named_too(head: bytes, kind: str | None) -> None:
    assert kind_of(head) == kind
