"""Wire protocols of publishers, one module each: messages -> commands, events -> messages. Pure.

commands  what a publisher can ask for         dialect  what a protocol is to the core
native    the protocol of docs/protocol.md     deepgram, deepgram_query, deepgram_shapes  docs/clients/deepgram.md
"""
