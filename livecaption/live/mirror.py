"""A session of another server, as its readers here get it. Pure, but for readers that wait.

bulletins ─> the events that follow ──────────────────────────────> the log, as in the session's own server ─> readers
          └> something is lost, or the session is elsewhere now ─> torn ─> the finals in the store ─> a new log

Readers get a snapshot from a new log. A mirror waits for nothing: `anywhere` asks, and reads the store.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from livecaption.events import End, Final, Translation
from livecaption.live.bulletin import Bulletin
from livecaption.live.event_log import SEQS_PER_GENERATION, EventLog, Message, epoch_of
from livecaption.live.published import News, Published
from livecaption.live.tokens import SessionTokens
from livecaption.store.rows import NewSession, Numbered, RunningSession, SessionRecord, SessionState

MAX_WAITING = 512
"""Bulletins that wait for the store, which are those of five seconds of a busy session. Later ones are lost, and the
store is read once more. More: memory. Fewer: readers get more snapshots where the store is slow."""


def log_of(
    session_id: str, stored: RunningSession | None, answer: Bulletin | None, events: Iterable[Numbered] = ()
) -> EventLog:
    """Return the log of a session as it is in the store, which was read after its server has answered this.

    Give one of both at least; a session that was deleted is not in the store. `events` are those in the store. May run
    in any thread, because converting the finals of some hours takes a while.
    """
    events = tuple(events)
    if answer is not None:
        generation, since = answer.head.generation, answer.head.since
    else:
        generation = 0 if stored is None else stored.generation
        since = max([generation * SEQS_PER_GENERATION, *(seq for seq, _ in events)])
    return EventLog(
        "" if stored is None else stored.record.title,
        None if stored is None else stored.record.language,
        epoch_of(session_id, generation),
        session=session_id,
        generation=generation,
        # Later events are in the answer, or still to come.
        earlier=[(seq, event) for seq, event in events if seq <= since],
        tracks=list(dict.fromkeys(event.language for _, event in events if isinstance(event, Translation))),
        names={} if stored is None else stored.record.names,
        last_seq=since,
    )


class Mirror(Published):
    """The mirror of one session. It is empty until it is mended for the first time.

    Attributes:
        is_torn: whether it has lost bulletins, so that it is to be mended.
        is_lacking: whether it has fewer captions than were published. The store will have them, if it is only behind.
        n_received: bulletins so far.
        n_readers: readers that are attached.
        n_reads: how often it was read, by readers and others.
    """

    def __init__(self) -> None:
        super().__init__(EventLog("", None, ""), News())
        self.is_torn = True
        self.is_lacking = False
        self.n_received = 0
        self.n_readers = 0
        self.n_reads = 0
        self._open_since_ms: int | None = None
        self._lacking_since_ms = 0
        self._waiting: list[Bulletin] | None = None  # those that have come since `begin_mending`
        self._here: Published | None = None

    def receive(self, bulletin: Bulletin | None) -> None:
        """Take a bulletin. None: some may be lost before the next."""
        if self._here is not None:
            return
        self.n_received += 1
        if bulletin is None:
            self.is_torn = True
        elif self._waiting is None:
            self._adopt(bulletin)
            self.news.notify()
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append(bulletin)
        else:
            self.is_torn = True

    # Mending: begin, get an answer from the server of the session, read the store, mend. Bulletins wait meanwhile.

    def begin_mending(self) -> None:
        self.is_torn = False
        self._waiting = []

    @property
    def answer(self) -> Bulletin | None:
        """The newest whole state that has come since the beginning of the mending; None: nobody has answered."""
        return next((each for each in reversed(self._waiting or ()) if each.state is not None), None)

    def mend(self, log: EventLog, answer: Bulletin | None) -> None:
        """Go on with what `log_of` has made of this answer."""
        self.log = log
        self.is_lacking = False
        if answer is not None:
            self._adopt(answer)
        self.end_mending()

    def end_mending(self) -> None:
        """Take the bulletins that have waited, also where the store could not be read."""
        waiting, self._waiting = self._waiting or [], None
        for bulletin in waiting:
            self._adopt(bulletin)
        self.news.notify()

    def go_on_here(self, hub: Published) -> None:
        """Let the readers go on with the hub of the session, which this server has taken over."""
        self._here, self.log = hub, hub.log
        hub.news.wake(self.news)  # for which the readers of rooms wait too
        self.news.notify()

    def _adopt(self, bulletin: Bulletin) -> None:
        head, log = bulletin.head, self.log
        if (head.generation, head.until) < (log.generation, log.last_seq):
            return  # it is late
        if head.generation > log.generation or head.since > log.last_seq:
            self.is_torn = True
            return
        if head.forgotten and not log.forgotten:
            log.forget()
        newest_ms = log.newest_ms
        is_early = False
        for seq, event in bulletin.events:
            # Readers leave at the end. So it waits for captions that the store will have.
            is_early = isinstance(event, End) and not head.forgotten and log.n_captions != head.n_captions
            if seq > log.last_seq and not is_early:
                log.adopt(seq, event)
        if not is_early:
            log.skip_to(head.until)
        if bulletin.state is not None:
            log.adopt_state(bulletin.state)
        self.away_since_ms, self._open_since_ms = head.away_since_ms, head.open_since_ms
        is_lacking = not head.forgotten and log.n_captions != head.n_captions
        if is_lacking and not self.is_lacking:
            # With cursors of the session, readers would go on elsewhere behind captions that are lacking here.
            log.begin_epoch(epoch_of(f"{log.epoch} lacks captions", log.generation))
            self._lacking_since_ms = newest_ms
        self.is_lacking = is_lacking

    # What readers ask

    @property
    def is_here(self) -> bool:
        """True if this server has taken the session over."""
        return self._here is not None

    @property
    def closed(self) -> bool:
        """See `Published`."""
        return super().closed if self._here is None else self._here.closed

    @property
    def open_since_ms(self) -> int | None:
        """See `Published`. What is lacking is open, too: the store gets finals in their order."""
        lacking_since_ms = self._lacking_since_ms if self.is_lacking else None
        return min((ms for ms in (self._open_since_ms, lacking_since_ms) if ms is not None), default=None)

    def read(self, seq: int | None) -> tuple[list[Message], int]:
        """See `Published`. Readers of a mirror that lacks captions have negative numbers, and get a snapshot later."""
        self.n_reads += 1
        if seq is not None and seq < 0:
            seq = ~seq if self.is_lacking else None
        messages, seq = super().read(seq)
        return messages, ~seq if self.is_lacking else seq

    async def subscribe(self, last_seq: int | None, heartbeat_s: float) -> AsyncGenerator[list[Message], None]:
        """See `Published`."""
        self.n_readers += 1
        try:
            async with aclosing(super().subscribe(last_seq, heartbeat_s)) as feed:
                async for messages in feed:
                    yield messages
        finally:
            self.n_readers -= 1


class MirroredSession:
    """A session of another server, for those that read it here.

    Attributes:
        about: the session as it was stored when it was found.
        tokens: check its readers.
        options: what handlers ask about.
    """

    takes_audio = False
    received_ms = 0

    def __init__(self, stored: RunningSession) -> None:
        record, resumption = stored.record, stored.resumption
        self.id = record.id
        self.about = NewSession(
            record.id, record.title, record.language, record.started_at_ms, record.private, resumption, record.room
        )
        self.hub = Mirror()
        # The store has the tokens of sessions that can go on elsewhere. The others are for keys alone.
        reader_hash = None if not record.private else resumption.reader_token_hash if resumption else ""
        self.tokens = SessionTokens(resumption.resume_token_hash if resumption else "", reader_hash)

    @property
    def options(self) -> "MirroredOptions":
        return MirroredOptions(self.about.private, self.hub.tracks)


def session_that_is_over(record: SessionRecord, finals: Iterable[Final]) -> MirroredSession:
    """Return a session that no server has any more, as it is in the store, with its `end`.

    Each request gets the same numbers, in an epoch of their own. May run in any thread; see `log_of`.
    """
    session = MirroredSession(RunningSession(record, 0, False, None, None))
    earlier = list(enumerate(finals, start=1))
    session.hub.log = log = EventLog(
        record.title,
        record.language,
        epoch_of(f"{record.id} is over", 0),
        session=record.id,
        earlier=earlier,
        tracks=list(dict.fromkeys(each.language for _, final in earlier for each in final.translations or ())),
        names=record.names,
        last_seq=len(earlier),
    )
    log.append(End(record.duration_ms, len(earlier), "stop" if record.state is SessionState.ENDED else "disconnect"))
    return session


@dataclass(frozen=True, slots=True)
class MirroredOptions:
    """The options of a session elsewhere that handlers need; see `StreamOptions`. Mirrored sessions are stored."""

    private: bool
    tracks: tuple[str, ...]
    keep: bool = True
