"""Keep transcripts beyond the life of the process. This package is the only place that uses SQLite.

    store        all that the server needs of a store, as a protocol
    config       path and retention time           held    callers that wait until something is written
    rows         finals <-> rows                   search  search queries -> terms, excerpts -> parts

One file of SQLite:

    transcripts  the store for the event loop      schema  tables, and their migration
    database     a file: read, write, purge        writer  the only thread that writes
    shared       a file that processes of one server share; their parent is its keeper
    ownership    one server has the store          backup  copies of a store in use, and back

    begin, append, end -> queue -> writer: all waiting statements in one transaction -> written
    questions          -> a thread of its own
    delete, rename     -> the writer, between two transactions

The event loop never touches the disk.
"""
