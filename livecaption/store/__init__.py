"""Keep transcripts beyond the life of the process. This package is the only place that uses SQLite.

    config       path and retention time           schema  tables, and their migration
    rows         finals <-> rows                   search  search queries -> FTS5
    database     a file: read, write, purge        writer  the only thread that writes
    transcripts  the store for the event loop
    ownership    one server has the store          backup  copies of a store in use, and back

    begin, append, end -> queue -> writer: all waiting statements in one transaction -> written
    read               -> a thread of its own
    delete             -> the writer, between two transactions

The event loop never touches the disk.
"""
