"""The time-outs and limits of sessions and their sockets. They belong to the server, and no user sets them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """The limits of one WebSocket, of a publisher or of a reader.

    Attributes:
        start_timeout_s: time in which a publisher opens or resumes a session. Longer: connections that send nothing
            hold slots. Shorter: publishers on slow networks are refused.
        heartbeat_s: time between two pings of the server; a peer that does not answer within half of that is gone.
            Longer: lost peers are noticed later. Shorter: phones wake up more often.
        send_timeout_s: time that a message may take; a peer that has not read it by then is cut off. Longer: its
            messages take memory. Shorter: short gaps in a network cut peers off.
        answer_timeout_s: time in which a silent publisher must answer a ping if a new stream needs its slot. Longer:
            new streams wait. Shorter: publishers in slow networks lose their connection.
        close_timeout_s: time that the close handshake may take, and a message once the server stops. Longer: a stop
            takes longer. Shorter: distant peers do not get their last messages.
        messages_per_s, messages_burst: messages of a peer, in the long run and at once; a peer that sends more is read
            more slowly. A large one counts as several (`allowance.BYTES_OF_A_MESSAGE`). These are 20 ms chunks at ten
            times the pace of speech. A message without meaning takes 10 us, so a flood takes 0.5 % of a core. More: a
            larger part. Less: files are taken more slowly.
    """

    start_timeout_s: float = 10.0
    heartbeat_s: float = 20.0
    send_timeout_s: float = 5.0
    answer_timeout_s: float = 2.0
    close_timeout_s: float = 1.0
    messages_per_s: float = 500.0
    messages_burst: float = 1000.0


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """The limits of the audio of one session.

    Attributes:
        audio_s_per_s, burst_s: the pace at which audio is taken, in seconds of its own time: in the long run and at
            once. A recording of an hour is taken in 36 s, at a tenth of a core. More: others wait. Less: files take
            longer.
        max_backlog_ms: audio that waits for finals before the server reads slower than the client sends. More: more
            memory for each stream. Less: the workers may wait for audio, and batches of a recording are smaller.
        backlog_pause_s: longest pause in reading. After it one message is taken all the same, so that pings are
            answered and a dead peer is seen. Longer: a dead peer is noticed later. Shorter: the backlog grows more.
        patience_in_speech_s: time without audio that ends an utterance in which somebody speaks. Longer: the final of
            a client that stops sending comes later. Shorter: a delay of the network cuts words. Figures:
            docs/decisions/0037-pauses-of-sending.md.
        last_decoding_s: time in which the received bytes of a container must be decoded when the client has left. The
            rest is lost. Longer: clients that left take more of the decoders. Shorter: more is lost.
        last_decoding_draining_s: the same when the server stops.
    """

    audio_s_per_s: float = 100.0
    burst_s: float = 60.0
    max_backlog_ms: int = 90_000
    backlog_pause_s: float = 5.0
    patience_in_speech_s: float = 3.0
    last_decoding_s: float = 10.0
    last_decoding_draining_s: float = 2.0


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The limits of one session.

    Attributes:
        tick_s: time between two reports of its progress, and between two looks for a publisher that is silent or
            away. Longer: clients keep more audio that is not acknowledged. Shorter: more messages.
        idle_timeout_s: a publisher that sends nothing for this time is refused. Longer: it holds its slot. Shorter: a
            client that sends no silence must stop and start again at each pause.
        audio: the limits of its audio.
    """

    tick_s: float = 1.0
    idle_timeout_s: float = 300.0
    audio: AudioLimits = field(default_factory=AudioLimits)


@dataclass(frozen=True, slots=True)
class RegistryLimits:
    """The limits of what is kept of sessions that are over, or that wait.

    Attributes:
        keep_ended_s: time for which a session that is over can still be read, and be resumed by a publisher that
            missed its end. Longer: more memory. Shorter: readers that were away get nothing.
        max_ended: number of ended sessions that are kept, the newest ones; each takes some 20 KB and its finals.
        max_without_slot: the most sessions that wait for their publishers without a slot, the newest: they have no
            audio, or a new stream has taken their slot. More: more memory for strangers. Less: publishers may lose
            their session.
        take_after_s: time for which a publisher must be away before a new stream may take its slot. Longer: others are
            refused. Shorter: a publisher loses its slot to others when its network is interrupted for a moment.
            Figures: docs/decisions/0046-slots-of-lost-publishers.md.
        max_claims: the most connections that have named one session and not yet shown its token. A client has one or
            two of them. More: more sockets for strangers. Less: strangers push the client out more easily.
    """

    keep_ended_s: float = 300.0
    max_ended: int = 2000
    max_without_slot: int = 100
    take_after_s: float = 5.0
    max_claims: int = 4


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """All limits of live sessions, by the part that enforces them."""

    socket: SocketLimits = field(default_factory=SocketLimits)
    session: SessionLimits = field(default_factory=SessionLimits)
    registry: RegistryLimits = field(default_factory=RegistryLimits)
