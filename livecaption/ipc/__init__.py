"""What the server and the processes that it starts share: how one starts, and how it is certain to end.

`children` starts and ends them, seen from the server; `lifeline` ties one to the server, seen from inside; `layers`
lists what does so, and `job_object` is the layer of Windows.
"""
