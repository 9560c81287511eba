"""One publisher's stream: audio, speech and captions joined. Bytes in, requests and events out. Pure.

options          what a stream begins with
intake           bytes -> frames, and how much audio has come
open_utterance   the utterance that has not ended: its partials, its early final
request_builder  utterances -> requests, with what was said before
final_queue      the ended utterances: their finals, in order
latency          the delays of captions, for the operator
stream           joins them all
"""
