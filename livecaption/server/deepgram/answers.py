"""Make Deepgram's answer to a recording from its finals. Pure."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from livecaption.captions.labels import in_turns
from livecaption.captions.transcript import PARAGRAPH_PAUSE_MS
from livecaption.events import CaptionWord, Final
from livecaption.live.dialects.deepgram_query import RecordedOptions
from livecaption.live.dialects.deepgram_shapes import REQUEST_ID_HEADER, Model, Text, seconds, speaker_number, words_of
from livecaption.live.dialects.dialect import HttpAnswer

SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording that was transcribed.

    Attributes:
        request_id: the id of the request.
        sha256: that of its bytes, in hex.
        created: when the request came, in UTC.
        duration_ms: its length.
        n_channels: channels that were transcribed apart; 1 if they are mixed.
        model: the model.
    """

    request_id: str
    sha256: str
    created: datetime
    duration_ms: int
    n_channels: int
    model: Model


def answer(recorded: Recorded, finals: Sequence[Final], options: RecordedOptions) -> HttpAnswer:
    """Return the answer. The finals are in spoken order."""
    spoken = [final for final in finals if final.text.strip()]
    results: dict[str, Any] = {
        "channels": [
            _channel([final for final in spoken if (final.channel or 0) == number], options)
            for number in range(recorded.n_channels)
        ]
    }
    if options.utterances:
        results["utterances"] = [
            _utterance(f"{recorded.request_id}:{final.utterance}:{number}", turn, options)
            for final in spoken
            for number, turn in enumerate(in_turns(final))
        ]
    body = {"metadata": _metadata(recorded), "results": results}
    headers = {"Content-Type": "application/json; charset=utf-8", REQUEST_ID_HEADER: recorded.request_id}
    return HttpAnswer(200, json.dumps(body, ensure_ascii=False), headers)


def _metadata(recorded: Recorded) -> dict[str, Any]:
    return {
        "transaction_key": "deprecated",
        "request_id": recorded.request_id,
        "sha256": recorded.sha256,
        "created": recorded.created.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "duration": seconds(recorded.duration_ms),
        "channels": recorded.n_channels,
        "models": [recorded.model.uuid],
        "model_info": {recorded.model.uuid: recorded.model.info},
    }


def _channel(finals: Sequence[Final], options: RecordedOptions) -> dict[str, Any]:
    confidence = sum(final.confidence for final in finals) / len(finals) if finals else 0.0
    words = [word for final in finals for word in _words(final)]
    text = Text(" ".join(final.text.strip() for final in finals), words, confidence, options.formatted)
    alternative = text.alternative()
    if options.paragraphs:
        alternative["paragraphs"] = _paragraphs(finals)
    shape: dict[str, Any] = {"alternatives": [alternative]}
    if options.detects_language:
        languages = Counter(final.language for final in finals if final.language).most_common(1)
        shape |= {"detected_language": languages[0][0] if languages else None, "language_confidence": confidence}
    return shape


def _utterance(name: str, final: Final, options: RecordedOptions) -> dict[str, Any]:
    """Return an utterance, or a part of it with one speaker. Its id is made of a name that no other one has."""
    text = Text(final.text.strip(), _words(final), final.confidence, options.formatted)
    return {
        "start": seconds(final.start_ms),
        "end": seconds(final.end_ms),
        "channel": final.channel or 0,
        **text.alternative(),
        **_speaker(final),
        "id": str(uuid5(NAMESPACE_URL, name)),
    }


def _speaker(turn: Final) -> dict[str, int]:
    """Return the speaker, unless nobody is certain."""
    speaker = turn.turns[0].speaker if turn.turns else None
    return {} if speaker is None else {"speaker": speaker_number(speaker)}


def _paragraphs(finals: Sequence[Final]) -> dict[str, Any]:
    """Return the paragraphs, which begin after a pause or with another speaker, as those of a transcript do."""
    runs: list[list[Final]] = []
    for turn in (turn for final in finals for turn in in_turns(final)):
        last = runs[-1][-1] if runs else None
        if last and turn.start_ms - last.end_ms < PARAGRAPH_PAUSE_MS and _speaker(turn) == _speaker(last):
            runs[-1].append(turn)
        else:
            runs.append([turn])
    paragraphs: list[dict[str, Any]] = []
    for run in runs:
        words = [word for final in run for word in _words(final)]
        sentences = _sentences(words)
        times = {"start": seconds(run[0].start_ms), "end": seconds(run[-1].end_ms)}
        paragraphs.append({"sentences": sentences, **_speaker(run[0]), "num_words": len(words), **times})
    texts = (
        (f"Speaker {paragraph['speaker']}: " if "speaker" in paragraph else "")
        + " ".join(sentence["text"] for sentence in paragraph["sentences"])
        for paragraph in paragraphs
    )
    return {"transcript": "\n\n".join(texts), "paragraphs": paragraphs}


def _sentences(words: Sequence[CaptionWord]) -> list[dict[str, Any]]:
    sentences: list[list[CaptionWord]] = [[]]
    for word in words:
        sentences[-1].append(word)
        if word.word.endswith(SENTENCE_ENDS):
            sentences.append([])
    return [
        {
            "text": " ".join(word.word for word in sentence),
            "start": seconds(sentence[0].start_ms),
            "end": seconds(sentence[-1].end_ms),
        }
        for sentence in sentences
        if sentence
    ]


def _words(final: Final) -> list[CaptionWord]:
    return words_of(final.text, final.words or (), final.start_ms, final.end_ms, final.confidence, final.turns or ())
