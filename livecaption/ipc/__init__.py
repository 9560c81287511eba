"""This package is shared by the server and the processes that it starts.

In the server, `children` starts and ends the processes. In a child process, `lifeline` ends it together with the
server. `layers` lists all mechanisms that do so, and `job_object` is the one for Windows. `config` has the settings of
an inference process, and `messages` defines the messages on its pipe. `bridge` connects the server's end of the pipe to
asyncio. `datagrams` sends from one server process to another. `locks` finds processes that outlived an earlier server
in spite of all this. `logs` has their log.
"""
