"""Transcripts that outlive the process: SQLite, the one place that knows it.

    config     where, and how long           schema     tables, and how older ones become new ones
    rows       finals <-> rows               search     words of people -> FTS5
    database   a file: owned, read, purged   writer     the one thread that writes
    transcripts  the store as the event loop sees it

    begin, append, end -> queue -> writer: all that waits in one transaction -> written
    read, delete       -> a thread of its own; in the writer between two transactions

The event loop never touches the disk.
"""
