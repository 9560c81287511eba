"""One publisher's stream: audio, speech and captions joined. Bytes in, requests and events out. Pure.

options          the beginning of a stream: its options and its resume point
intake           bytes -> samples, and how much audio has come
arrival          audio and the clock on the wall: pauses of sending, times of events
open_utterance   the utterance that has not ended: its partials, its early final
request_builder  utterances -> requests, with the text and audio before them
final_queue      the ended utterances: their finals, in order
translations     the translations of sent finals
latency          the delays of captions, for the operator
channel          one channel's samples, utterances, requests and events
stream           joins them all, with one channel for each that is kept apart
"""
