"""Make OpenAI's answers from finals and errors. Pure."""

import json
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from livecaption.captions.language_names import NAMES
from livecaption.captions.transcript import to_srt, to_vtt
from livecaption.errors import LivecaptionError
from livecaption.events import Final
from livecaption.live.dialects.dialect import HttpAnswer
from livecaption.live.dialects.openai_errors import object_of
from livecaption.live.dialects.openai_items import speaker_letters
from livecaption.live.dialects.refusals import JSON
from livecaption.recognition import ModelDescription, Task
from livecaption.server.openai.fields import ResponseFormat

CONTENT_TYPES: Mapping[ResponseFormat, str] = {
    "json": JSON,
    "verbose_json": JSON,
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "diarized_json": JSON,
}
OWNER = "livecaption"
CREATED_S = 1_700_000_000
"""The time at which models were made, for clients that need one: nobody knows it."""


def transcription(
    format_: ResponseFormat, finals: Sequence[Final], duration_ms: int, *, task: Task, words: bool
) -> HttpAnswer:
    """Return the answer to a request.

    Args:
        format_: its form.
        finals: in spoken order.
        duration_ms: length of the recording.
        task: what was done.
        words: whether the verbose answer has the times of words.
    """
    spoken = [final for final in finals if final.text.strip()]
    text = text_of(spoken)
    match format_:
        case "text":
            body = text + "\n"
        case "srt":
            body = to_srt(spoken)
        case "vtt":
            body = to_vtt(spoken)
        case "json":
            body = json.dumps({"text": text, "usage": usage(duration_ms)}, ensure_ascii=False)
        case "verbose_json":
            answer = {
                "task": task,
                "language": _language(spoken),
                "duration": duration_ms / 1000,
                "text": text,
                "segments": [_segment(number, final) for number, final in enumerate(spoken)],
            }
            if words:
                answer["words"] = [
                    {"word": word.word, "start": word.start_ms / 1000, "end": word.end_ms / 1000}
                    for final in spoken
                    for word in final.words or ()
                ]
            body = json.dumps(answer | {"usage": usage(duration_ms)}, ensure_ascii=False)
        case "diarized_json":
            answer = {
                "task": task,
                "duration": duration_ms / 1000,
                "text": text,
                "segments": [each for final in spoken for each in _diarized(final)],
            }
            body = json.dumps(answer | {"usage": usage(duration_ms)}, ensure_ascii=False)
    return HttpAnswer(200, body, {"Content-Type": CONTENT_TYPES[format_]})


def text_of(finals: Sequence[Final]) -> str:
    """Return the text of finals that all have some."""
    return " ".join(final.text.strip() for final in finals)


def usage(duration_ms: int) -> dict[str, Any]:
    """Return the use of a request: whole seconds of audio."""
    return {"type": "duration", "seconds": math.ceil(duration_ms / 1000)}


def delta(final: Final, *, is_first: bool) -> str:
    """Return the server-sent event of one more final. Texts of all these, joined, are the whole text."""
    return _event({"type": "transcript.text.delta", "delta": ("" if is_first else " ") + final.text.strip()})


def segments(final: Final) -> str:
    """Return the server-sent events of the turns of a final; empty: speakers are not distinguished."""
    return "".join(map(_event, _diarized(final)))


def done(finals: Sequence[Final], duration_ms: int) -> str:
    """Return the last server-sent event."""
    return _event({"type": "transcript.text.done", "text": text_of(finals), "usage": usage(duration_ms)})


def late_failure(error: LivecaptionError) -> str:
    """Return the server-sent event of a failure that came after the first text."""
    return _event({"type": "error", "error": object_of(error)})


def models(loaded: ModelDescription) -> dict[str, Any]:
    """Return the list of models: the loaded one."""
    return {"object": "list", "data": [model(loaded)]}


def model(loaded: ModelDescription) -> dict[str, Any]:
    """Return the description of the loaded model."""
    return {"id": loaded.model, "object": "model", "created": CREATED_S, "owned_by": OWNER}


def _language(spoken: Sequence[Final]) -> str:
    """Return the English name of the language of most finals, in lower case, as OpenAI does."""
    codes = Counter(final.language for final in spoken if final.language)
    return NAMES.get(codes.most_common(1)[0][0], codes.most_common(1)[0][0]).lower() if codes else "unknown"


def _segment(number: int, final: Final) -> dict[str, Any]:
    """Return a final as a segment. The engine gives no tokens, and never raises the temperature."""
    encoded = final.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": final.start_ms / 1000,
        "end": final.end_ms / 1000,
        "text": final.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(max(final.confidence, 1e-6)), 4),
        "compression_ratio": round(len(encoded) / len(zlib.compress(encoded)), 4),
        "no_speech_prob": 0.0,
    }


def _diarized(final: Final) -> list[dict[str, Any]]:
    return [
        {
            "type": "transcript.text.segment",
            "id": f"seg_{final.utterance}_{number}",
            "start": turn.start_ms / 1000,
            "end": turn.end_ms / 1000,
            "speaker": speaker_letters(turn.speaker),
            "text": turn.text.strip(),
        }
        for number, turn in enumerate(final.turns or ())
    ]


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
