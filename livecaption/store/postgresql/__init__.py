"""Keep transcripts in PostgreSQL. This package is the only place that uses asyncpg, which the extra `cluster` brings.

store       the store for the event loop       connecting  a connection, and why there is none
writer      the task that writes               statements  entries -> SQL
questions   what is read                       words       what is searched, and its excerpts
ownership   which server has a session         schema      tables, and their migration
presence    sign of life, and requests         messages    what servers send each other

begin, append, end -> queue -> writer: all waiting entries in one transaction -> written
questions          -> a pool of connections
delete, rename     -> the writer, between two transactions
"""
