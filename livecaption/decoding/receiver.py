"""The receiver process fetches a live broadcast, decodes it and sends its samples, until the broadcast ends.

It is started and ended as a decoder process is, and sends the same messages. It needs the network, so it has the limits
of a decoder but not its filter of system calls. Only the command `listen` starts one, for an address of its user.
"""

import os
from multiprocessing.connection import Connection
from socket import socket
from typing import NoReturn

from livecaption.audio.formats import ChannelMode
from livecaption.decoding import messages, sandbox
from livecaption.decoding.broadcast import decode_broadcast
from livecaption.decoding.process import EXIT_DONE, Channel, send_all

MAX_ADDRESS_BYTES = 8 * 1024


def run(
    server: socket, file: Connection | None, track: int | None, channel_mode: ChannelMode, from_stranger: bool
) -> NoReturn:
    """Run the process to its end. The lifeline is set up before.

    The address comes over the socket, up to its end: arguments of a process can be read by other users.

    Args:
        server: the socket for messages to the command.
        file: nothing; a decoder has a file there.
        track: number of the audio track to decode, from 1. None: the default one.
        channel_mode: whether the channels are mixed or kept apart.
        from_stranger: counts for no broadcast.
    """
    del from_stranger
    assert file is None
    sandbox.limit_resources()
    sandbox.forbid_writing_files()
    channel = Channel(server.fileno())
    channel.send(messages.Ready())
    address = b""
    while data := server.recv(MAX_ADDRESS_BYTES):
        address += data
    send_all(
        channel,
        lambda opened: decode_broadcast(address.decode(), opened, track=track, channel_mode=channel_mode),
    )
    os._exit(EXIT_DONE)
