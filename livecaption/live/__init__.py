"""Live sessions: they outlive the sockets of those who send audio and of those who read along.

websocket   one socket, read fairly and closed in time    outbox      sends, each with a deadline
connection  one WebSocket of a publisher                  session     one stream, over all its connections
registry    all sessions: admission, claims, drain        hub         numbers events, fans them out
event_log   the newest events, and snapshots              store_gate  holds events until they are stored
tokens      a session's two tokens                        dialects/   messages <-> our types, one for each protocol
turn        no connection holds the event loop            allowance   how much a peer may use of something
"""
