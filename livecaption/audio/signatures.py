"""Recognize the format of a file by its first bytes. Pure.

FFmpeg does so too, but names no format that it may not open. An error with the name of the format helps more than "not
audio".
"""

HEAD_BYTES = 264
"""Bytes that `kind_of` looks at."""

_SIGNATURES = (
    ("WAV", ((0, b"RIFF"), (8, b"WAVE"))),
    ("WAV", ((0, b"RF64"), (8, b"WAVE"))),
    ("WAV", ((0, b"BW64"), (8, b"WAVE"))),
    ("AVI", ((0, b"RIFF"), (8, b"AVI "))),
    ("AIFF", ((0, b"FORM"), (8, b"AIF"))),
    ("Matroska or WebM", ((0, b"\x1a\x45\xdf\xa3"),)),
    ("Ogg", ((0, b"OggS"),)),
    ("FLAC", ((0, b"fLaC"),)),
    ("MP4", ((4, b"ftyp"),)),
    ("MP4", ((4, b"moov"),)),
    ("MP4", ((4, b"moof"),)),
    ("AU", ((0, b".snd"),)),
    ("CAF", ((0, b"caff"),)),
    ("AMR", ((0, b"#!AMR"),)),
    ("W64", ((0, b"riff\x2e\x91\xcf\x11"),)),
    ("ASF", ((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),)),
    ("FLV", ((0, b"FLV\x01"),)),
    ("MPEG program stream", ((0, b"\x00\x00\x01\xba"),)),
    ("MPEG video", ((0, b"\x00\x00\x01\xb3"),)),
    ("AC-3", ((0, b"\x0b\x77"),)),
    ("DTS", ((0, b"\x7f\xfe\x80\x01"),)),
    ("DTS", ((0, b"\xfe\x7f\x01\x80"),)),
    ("DTS", ((0, b"\x1f\xff\xe8\x00"),)),
    ("DTS-HD", ((0, b"DTSHDHDR"),)),
    ("WavPack", ((0, b"wvpk"),)),
    ("TTA", ((0, b"TTA1"),)),
    ("TTA", ((0, b"TTA2"),)),
    ("NUT", ((0, b"nut/multimedia container\0"),)),
    ("VOC", ((0, b"Creative Voice File"),)),
    ("MXF", ((0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02"),)),
    ("Monkey's Audio", ((0, b"MAC "),)),
    ("Musepack", ((0, b"MPCK"),)),
    ("Musepack", ((0, b"MP+"),)),
    ("NIST SPHERE", ((0, b"NIST_1A"),)),
    ("SoX", ((0, b".SoX"),)),
    ("SoX", ((0, b"XoS."),)),
    ("RealMedia", ((0, b".RMF"),)),
    ("DSS", ((1, b"dss"),)),
    ("DSS", ((1, b"ds2"),)),
    ("DSF", ((0, b"DSD "),)),
    ("WTV", ((0, b"\xb7\xd8\x00\x20\x37\x49\xda\x11"),)),
    ("MIDI", ((0, b"MThd"),)),
    ("MP3", ((0, b"ID3"),)),
    ("MPEG-TS", ((0, b"\x47"), (188, b"\x47"))),
    ("a playlist", ((0, b"#EXTM3U"),)),
    ("a playlist", ((0, b"[playlist]"),)),
    ("subtitles", ((0, b"WEBVTT"),)),
    ("PDF", ((0, b"%PDF"),)),
    ("a ZIP archive or office document", ((0, b"PK\x03\x04"),)),
    ("gzip", ((0, b"\x1f\x8b"),)),
    ("PNG", ((0, b"\x89PNG"),)),
    ("JPEG", ((0, b"\xff\xd8\xff"),)),
    ("GIF", ((0, b"GIF8"),)),
    ("HTML", ((0, b"<!DOCTYPE"),)),
    ("HTML", ((0, b"<!doctype"),)),
    ("HTML", ((0, b"<html"),)),
    ("XML", ((0, b"<?xml"),)),
    ("a program", ((0, b"\x7fELF"),)),
    ("a program", ((0, b"MZ"),)),
)
"""Names of formats, with the bytes of each at their places. The first match counts."""


def kind_of(head: bytes) -> str | None:
    """Name the format of a file that begins with these bytes, or None if they are of no known one.

    Streams of MP3 and AAC without a header, and raw audio, have no signature that is certain.
    """
    for name, parts in _SIGNATURES:
        if all(head.startswith(magic, at) for at, magic in parts):
            return name
    if len(head) >= 32 and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "text"
    return None
