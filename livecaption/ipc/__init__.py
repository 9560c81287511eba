"""What the server and the processes that it starts share.

`children` starts and ends them, seen from the server; `lifeline` ties one to the server, seen from inside; `layers`
lists what does so, and `job_object` is the layer of Windows. `config` says what an inference process loads, `messages`
what crosses its pipe, `bridge` joins the server's end of the pipe to asyncio. `locks` finds a process that outlived
its server all the same.
"""
