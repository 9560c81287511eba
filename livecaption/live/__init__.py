"""Live sessions: they outlive the sockets of their publishers and readers.

connection  one WebSocket of a publisher: executes      dialects/    wire protocols: messages -> commands, events ->
            the commands of its dialect                              messages
registry    all sessions: admission, claims, drain      opener       puts sessions together
session     one stream, over all its connections        state        the states of a session, as a table
audio_input the audio of a session on its way in        container    decodes containers for it
throttle    the pace at which audio is taken            progress     acknowledgements, checkpoints, status
hub         numbers events, fans them out               event_log    the newest events, and snapshots
store_gate  holds events until they are stored          tokens       a session's two tokens
peer        a connection, as its session sees it        outbox       sends, each message with a deadline
websocket   one socket, read fairly, closed in time     turn         no connection holds the event loop
allowance   limits the use of something                 logs         limits repeated lines of the log
config      the time-outs and limits of all of these
"""
