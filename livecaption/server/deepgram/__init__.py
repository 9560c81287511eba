"""Deepgram's protocol for whole recordings: docs/clients/deepgram.md. The one for live audio: `live.dialects.deepgram`.

answers   the answer to a request, in Deepgram's shape
handlers  the handler of the route
"""
