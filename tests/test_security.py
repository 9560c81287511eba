"""SECURITY.md is true: each of its numbers is that of the code."""

from pathlib import Path

from livecaption import keys
from livecaption.audio.accepted import STREAMS
from livecaption.audio.container import MAX_TRACKS, READ_BYTES
from livecaption.audio.formats import MAX_CHANNELS
from livecaption.audio.timeline import MAX_GAP_S
from livecaption.audio.track import MAX_RATE_HZ, MIN_RATE_HZ, PIECE_S
from livecaption.config import DEFAULTS
from livecaption.decoding import sandbox
from livecaption.decoding.decoder import DecoderConfig
from livecaption.delivery import destination, outgoing, receiver
from livecaption.evaluation import bounds
from livecaption.live import lobby, outbox, turn
from livecaption.live.allowance import BYTES_OF_A_MESSAGE
from livecaption.live.dialects import dialect, native, openai_realtime, wyoming_events
from livecaption.live.event_log import MAX_CHARACTERS, MAX_MESSAGES
from livecaption.live.logs import FEW_REFUSALS
from livecaption.scheduling import translations
from livecaption.server import attempts, descriptors, exports, followed, lifecycle, logs, publishers, readers, sending
from livecaption.store.store import MAX_UNUSED_ROOMS, MAX_WAITING, WAITING_DAYS
from tests.support.cases import for_each

TEXT = " ".join((Path(__file__).parent.parent / "SECURITY.md").read_text().split())
KIB, MIB = 1024, 1024 * 1024
SHARES = {0.5: "half"}

SERVER, LIVE = DEFAULTS.server, DEFAULTS.live
SOCKET, SESSION, AUDIO, REGISTRY = LIVE.socket, LIVE.session, LIVE.session.audio, LIVE.registry

BOUNDS = {
    "handshake": f"a handshake of TLS or HTTP | {SERVER.http.keepalive_timeout_s:.0f} s",
    "body": f"64 KiB of body, {SERVER.http.keepalive_timeout_s:.0f} s for it | 400, 413, 408 |",
    "unread": f"a client that reads nothing of its answer | {SERVER.http.unread_timeout_s:.0f} s | cut off |",
    "not read": f"after {SERVER.http.unread_timeout_s:.0f} to {2 * SERVER.http.unread_timeout_s:.0f} s",
    "start": f"within {SOCKET.start_timeout_s:.0f} s",
    "messages": f"{SOCKET.messages_per_s:.0f} a second, {SOCKET.messages_burst:.0f} at once; "
    f"each {BYTES_OF_A_MESSAGE // KIB} KiB of a message count",
    "text": f"a text message | {native.LIMITS.max_text_bytes // KIB} KiB",
    "binary": f"a binary message | {native.LIMITS.max_binary_bytes // MIB} MiB",
    "read": f"from {(native.LIMITS.max_binary_bytes + publishers.READ_MARGIN_BYTES) / MIB:.2f} MiB on",
    "openai": f"{openai_realtime.MAX_APPEND_BYTES // MIB} MiB of audio in base64, and "
    f"{openai_realtime.MAX_FIELDS_CHARACTERS // KIB} KiB beside it",
    "events of Wyoming": f"an event of Wyoming | {wyoming_events.MAX_LINE_BYTES // KIB} KiB a line, "
    f"{wyoming_events.MAX_DATA_BYTES // KIB} KiB of data, {wyoming_events.MAX_PAYLOAD_BYTES // MIB} MiB of payload |",
    "lobby": f"those at `/` | {lobby.MAX_CONNECTIONS} of each, for {SOCKET.start_timeout_s:.0f} s |",
    "errors": f"bad messages of a publisher | {dialect.MAX_ERRORS} |",
    "wrong tokens": f"/64 network) | {attempts.MAX_WRONG} a minute, of the last {attempts.MAX_ADDRESSES} addresses |",
    "keys": f"keys; tokens of one request | {keys.MAX_KEYS}; {keys.MAX_SHOWN} |",
    "audio": f"{AUDIO.audio_s_per_s:.0f} s a second, {AUDIO.burst_s:.0f} s at once",
    "backlog": f"audio that waits for finals | {AUDIO.max_backlog_ms // 1000} s",
    "translations": f"finals of a session whose translations wait | {translations.MAX_WAITING} |",
    "turns": f"{turn.MAX_TURN_S * 1000:.0f} ms, or {turn.MAX_STEPS} messages",
    "holds": f"{bounds.Bounds().hold_ms:.0f} ms with the step that exceeds them",
    "silence": f"silence of a publisher | {SESSION.idle_timeout_s:.0f} s",
    "outbox": f"{outbox.MAX_WAITING_CHARACTERS // KIB} Ki characters, {SOCKET.send_timeout_s:.0f} s",
    "claims": f"connections that claim a session by its id | {REGISTRY.max_claims},",
    "away": f"for at least {REGISTRY.take_after_s:.0f} s while others are there; those without any audio hold none. "
    f"{REGISTRY.max_without_slot} without a slot are kept",
    "ended": f"sessions that are over | {REGISTRY.keep_ended_s:.0f} s, {REGISTRY.max_ended} |",
    "prepared rooms": f"rooms that wait for their first part, for {WAITING_DAYS} days | {MAX_UNUSED_ROOMS} |",
    "rooms": f"other rooms without parts | {MAX_UNUSED_ROOMS},",
    "events": f"{MAX_CHARACTERS // KIB} Ki characters of each session, {MAX_MESSAGES} events",
    "turn of reading": f"in one turn of the loop | {lifecycle.READ_BYTES // KIB} KiB",
    "refusals of access": f"3 a minute of an address, {logs.MAX_REFUSALS_PER_MINUTE} of all; {logs.MAX_ADDRESSES} "
    "addresses,",
    "refusals": f"{FEW_REFUSALS.per_minute} a minute | counted",
    "readers": f"`--max-readers` ({SERVER.max_readers}), and descriptors less {descriptors.OWN}, less "
    f"{descriptors.OF_OTHERS} for connections that wait for admission, recordings and sinks, and less "
    f"{descriptors.OF_A_STREAM} for each stream, for all streams {SHARES[descriptors.STREAMS_SHARE]} of the rest "
    "at most",
    "talkers": f"{readers.MAX_MESSAGES}, of {readers.MAX_READ_BYTES // KIB} KiB",
    "sinks": f"sinks | {destination.MAX_SINKS}; {outgoing.MAX_WAITING} texts each wait, for "
    f"{outgoing.MAX_AGE_S:.0f} s; {receiver.TIMEOUT_S:.0f} s an attempt |",
    "timelines": f"HLS players | {followed.MAX_TIMELINES} rooms, languages and line lengths; "
    f"{exports.MAX_AT_A_TIME} at a time, {exports.MAX_WAITING} that wait; kept {exports.KEEP_S:.0f} s unused",
    "polled": f"programs that poll | {followed.MAX_POLLED} rooms and languages;",
    "exports": f"{exports.MAX_AT_A_TIME} at a time, {exports.MAX_WAITING} that wait; "
    f"{exports.MAX_KEPT_BYTES // MIB} MiB kept for {exports.KEEP_S:.0f} s",
    "downloads": f"an export that its client does not read | {SOCKET.send_timeout_s:.0f} s a slice of "
    f"{sending.SLICE_BYTES // KIB} KiB, {SERVER.http.download_timeout_s:.0f} s in all | cut off |",
    "log": f"{logs.WITHOUT_REQUESTS.per_minute} a minute each",
    "store": f"{MAX_WAITING:,}",
    "memory": f"{sandbox.MAX_DECODING_BYTES // MIB} MiB more",
    "time": f"{sandbox.MAX_CPU_S} s for half a second of audio, or for {READ_BYTES // KIB} KiB of the container",
    "files": f"open files | {sandbox.MAX_OPEN_FILES} |",
    "stuck": f"{DecoderConfig().silence_s * DecoderConfig().max_silences:.0f} s |",
    "channels": f"1 to {MAX_CHANNELS} channels; {MIN_RATE_HZ // 1000} to {MAX_RATE_HZ // 1000} kHz",
    "last": f"{AUDIO.last_decoding_draining_s:.0f} s, {AUDIO.last_decoding_s:.0f} s to decode",
}


@for_each("bound", BOUNDS)
def test_each_bound_has_the_number_of_the_code(bound: str) -> None:
    assert BOUNDS[bound] in TEXT
    assert PIECE_S == 0.5


def test_gaps_and_tracks_have_the_numbers_of_the_code() -> None:
    assert f"{MAX_GAP_S / 3600:.0f} h a gap" in TEXT
    assert f"tracks of which one is chosen | {MAX_TRACKS} |" in TEXT


def test_each_format_is_named() -> None:
    names = {"mov": "MP4", "w64": "W64", "matroska": "Matroska", "webm": "WebM", "ogg": "Ogg", "mpegts": "MPEG-TS"}
    for name in STREAMS.formats:
        assert names.get(name, name.upper()) in TEXT
