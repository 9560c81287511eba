"""The native protocol and foreign ones pass the same tests: `tests.support.dialect_properties`."""

import base64
import json

from hypothesis import given

from livecaption.live.dialects.deepgram import Deepgram, accept
from livecaption.live.dialects.dialect import Dialect, Handshake
from livecaption.live.dialects.first_message import FirstMessage
from livecaption.live.dialects.native import Native
from livecaption.live.dialects.openai_realtime import OpenAIRealtime
from livecaption.live.dialects.vosk import Vosk
from livecaption.live.dialects.whisper_live import END_OF_AUDIO, WhisperLive
from livecaption.live.dialects.wyoming import Wyoming
from livecaption.live.dialects.wyoming_events import WyomingEvent, parse
from livecaption.speech.endpointing import EndpointingConfig
from tests.support.conversation import Conversation
from tests.support.dialect_properties import AUDIO, CUTS, EVERY, FEW, DialectProperties
from tests.support.dialects import Chunks, Deltas
from tests.support.wyoming import AUDIO as WYOMING_AUDIO
from tests.support.wyoming import event as wyoming_event

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


class TestVosk(DialectProperties):
    """The end has one reply for all finals that wait, so the finals are compared as one text."""

    opening = ('{"config": {"sample_rate": 16000}}',)
    closing = ('{"eof" : 1}',)
    joins = True

    def dialect(self) -> Dialect:
        return Vosk(ENDPOINTING)

    def finals(self, sent: list[str | bytes]) -> list[str]:
        return [reply["text"] for reply in map(json.loads, sent) if "text" in reply]

    @FEW
    @given(CUTS, EVERY)
    def test_each_message_of_audio_has_one_reply_and_the_end_one(self, cuts: list[int], every: int) -> None:
        conversation = Conversation(self.dialect(), every)
        conversation.send(self.opening)
        assert conversation.sent == []
        chunks = [AUDIO[start:end] for start, end in zip([0, *cuts], [*cuts, len(AUDIO)], strict=True)]
        for n_sent, chunk in enumerate(chunks, 1):
            conversation.send([chunk])
            assert len(conversation.sent) == n_sent
        conversation.send(self.closing)
        conversation.finish()
        assert len(conversation.sent) == len(chunks) + 1


class TestVoskAtTheRoot(TestVosk):
    def dialect(self) -> Dialect:
        return FirstMessage(Handshake(), ENDPOINTING)


class TestWhisperLive(DialectProperties):
    """Completed segments are sent again and again; a client takes each once, as that of WhisperLive does."""

    opening = ('{"uid": "u", "language": "en", "audio_format": "int16"}',)
    closing = (END_OF_AUDIO,)

    def dialect(self) -> Dialect:
        return WhisperLive(ENDPOINTING)

    def finals(self, sent: list[str | bytes]) -> list[str]:
        taken: list[dict[str, str]] = []
        for message in map(json.loads, sent):
            assert message["uid"] == "u"
            for segment in message.get("segments", []):
                if segment["completed"] and (not taken or float(segment["start"]) >= float(taken[-1]["end"])):
                    taken.append(segment)
        return [segment["text"].strip() for segment in taken]


class TestWhisperLiveThatDetectsTheLanguage(TestWhisperLive):
    opening = ('{"uid": "u", "audio_format": "int16"}',)

    def finals(self, sent: list[str | bytes]) -> list[str]:
        messages = [json.loads(message) for message in sent]
        assert messages[0]["message"] == "SERVER_READY"
        assert [at for at, message in enumerate(messages) if "language" in message] == [1]
        return super().finals(sent)


class TestWhisperLiveAtTheRoot(TestWhisperLive):
    def dialect(self) -> Dialect:
        return FirstMessage(Handshake(), ENDPOINTING)


class TestWyoming(DialectProperties):
    """Text is only appended to, and comes as a whole at the end."""

    appends = True
    joins = True
    opening = (wyoming_event("transcribe", {"language": "en"}),)
    closing = (wyoming_event("audio-stop"),)

    def dialect(self) -> Dialect:
        return Wyoming(ENDPOINTING, lambda: ("tiny.en", ("en",)))

    def talk(self, cuts: list[int], every: int) -> Conversation:
        """Send the audio as payloads of events."""
        conversation = Conversation(self.dialect(), every)
        chunks = [AUDIO[start:end] for start, end in zip([0, *cuts], [*cuts, len(AUDIO)], strict=True)]
        conversation.send(
            [*self.opening, *(wyoming_event("audio-chunk", WYOMING_AUDIO, chunk) for chunk in chunks), *self.closing]
        )
        conversation.finish()
        return conversation

    def finals(self, sent: list[str | bytes]) -> list[str]:
        return [each.data["text"] for each in self.events(sent) if each.type == "transcript"]

    def shown(self, sent: list[str | bytes]) -> str:
        return "".join(each.data["text"] for each in self.events(sent) if each.type == "transcript-chunk")

    def events(self, sent: list[str | bytes]) -> list[WyomingEvent]:
        return [parse(message) for message in sent if isinstance(message, bytes)]
