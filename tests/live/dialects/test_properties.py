"""The native protocol and foreign ones pass the same tests: `tests.support.dialect_properties`."""

import base64
import json

from livecaption.live.dialects.deepgram import Deepgram, accept
from livecaption.live.dialects.dialect import Handshake
from livecaption.live.dialects.native import Native
from livecaption.live.dialects.openai_realtime import OpenAIRealtime
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.conversation import Conversation
from tests.support.dialect_properties import AUDIO, DialectProperties
from tests.support.dialects import Chunks, Deltas

ENDPOINTING = EndpointingConfig()


class TestNative(DialectProperties):
    opening = ('{"type": "start"}',)
    closing = ('{"type": "stop"}',)

    def dialect(self) -> Native:
        return Native(ENDPOINTING)

    def finals(self, sent: list[str | bytes]) -> list[str]:
        events = [json.loads(message) for message in sent]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        return [event["text"] for event in events if event["type"] == "final"]


class TestNativeWithTracks(TestNative):
    """Each final with text has one translation into each language, behind it, and nothing else changes."""

    opening = ('{"type": "start", "translate": ["de", "en"]}',)

    def finals(self, sent: list[str | bytes]) -> list[str]:
        events = [json.loads(message) for message in sent]
        finals = [event["utterance"] for event in events if event["type"] == "final" and event["text"]]
        captions = [event for event in events if event["type"] in ("final", "translation")]
        translations = [(event["utterance"], event["language"]) for event in captions if event["type"] == "translation"]
        assert sorted(translations) == [(utterance, language) for utterance in finals for language in ("de", "en")]
        said = set()
        for event in captions:
            if event["type"] == "final":
                said.add(event["utterance"])
            assert event["utterance"] in said, "a translation comes before its final"
        return super().finals(sent)


class TestOneReplyAChunk(DialectProperties):
    closing = ('"eof"',)

    def dialect(self) -> Chunks:
        return Chunks(ENDPOINTING)

    def finals(self, sent: list[str | bytes]) -> list[str]:
        return [reply["text"] for reply in map(json.loads, sent) if "text" in reply]


class TestAppendedText(DialectProperties):
    """The client ends turns."""

    manual = True
    appends = True
    opening = ('"open"',)
    closing = ('"commit"', '"bye"')

    def dialect(self) -> Deltas:
        return Deltas(ENDPOINTING, manual=self.manual)

    def finals(self, sent: list[str | bytes]) -> list[str]:
        return self.shown(sent).split("\n")[:-1]

    def shown(self, sent: list[str | bytes]) -> str:
        return "".join("\n" if message == b"." else str(message)[1:] for message in sent if message != "committed")


class TestAppendedTextOfTurnsThatSilenceEnds(TestAppendedText):
    manual = False


def session_update(turn_detection: dict[str, str] | None) -> str:
    audio = {"input": {"format": {"type": "audio/pcm", "rate": 16_000}, "turn_detection": turn_detection}}
    return json.dumps({"type": "session.update", "session": {"type": "transcription", "audio": audio}})


class TestOpenAIRealtime(DialectProperties):
    """Silence ends turns."""

    opening = (session_update({"type": "server_vad"}),)
    appends = True
    ends = False

    def dialect(self) -> OpenAIRealtime:
        return OpenAIRealtime(ENDPOINTING)

    def message(self, audio: bytes) -> str:
        return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()})

    def finals(self, sent: list[str | bytes]) -> list[str]:
        events = [json.loads(message) for message in sent]
        committed = [event["item_id"] for event in events if event["type"] == "input_audio_buffer.committed"]
        completed = [event for event in events if event["type"].endswith("transcription.completed")]
        assert [event["item_id"] for event in completed] == committed
        return [event["transcript"] for event in completed]

    def shown(self, sent: list[str | bytes]) -> str:
        events = [json.loads(message) for message in sent]
        deltas = [event for event in events if event["type"].endswith("transcription.delta")]
        shown, item = "", ""
        for event in deltas:
            shown += event["delta"] if event["item_id"] == item else f" {event['delta']}"
            item = event["item_id"]
        return shown


class TestOpenAIRealtimeWithSemanticTurns(TestOpenAIRealtime):
    opening = (session_update({"type": "semantic_vad"}),)


class TestOpenAIRealtimeWithTurnsThatTheClientEnds(TestOpenAIRealtime):
    opening = (session_update(None),)
    closing = ('{"type": "input_audio_buffer.commit"}',)


class TestDeepgram(DialectProperties):
    """Its final results close all audio once, in order, and none is revised."""

    closing = ('{"type": "CloseStream"}',)
    query = "encoding=linear16&sample_rate=16000&interim_results=true&utterance_end_ms=800&vad_events=true"

    def dialect(self) -> Deepgram:
        parameters = tuple(tuple(each.split("=")) for each in self.query.split("&"))
        return accept(Handshake(parameters=parameters), ENDPOINTING)

    def talk(self, cuts: list[int], every: int) -> Conversation:
        return super().talk(sorted({*cuts} - {0, len(AUDIO)}), every)  # no empty message, which would end the stream

    def finals(self, sent: list[str | bytes]) -> list[str]:
        messages = [json.loads(message) for message in sent]
        assert messages[-1]["type"] == "Metadata"
        closed_s, finals = 0.0, []
        for message in messages:
            if message["type"] != "Results":
                continue
            assert message["start"] == closed_s
            text = message["channel"]["alternatives"][0]["transcript"]
            if message["is_final"]:
                closed_s = round(message["start"] + message["duration"], 3)
                finals += [text] if text else []
        return finals


class TestDeepgramWithoutInterimResults(TestDeepgram):
    query = "encoding=linear16&sample_rate=16000&punctuate=true&endpointing=300"

    def finals(self, sent: list[str | bytes]) -> list[str]:
        messages = [json.loads(message) for message in sent]
        assert all(message["is_final"] for message in messages[:-1])
        return super().finals(sent)
