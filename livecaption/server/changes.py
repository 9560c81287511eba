"""A stored session is deleted and renamed everywhere: for its readers, in its room, and in what is kept of it.

request here ─> the store ─┬─> all that this server has of the session
                           └─> the other servers ─> they read the store ─> all that they have of it
"""

from collections.abc import Mapping

from aiohttp import web

from livecaption.delivery.sources import session_key
from livecaption.server.exports import EXPORTS
from livecaption.server.followed import FOLLOWED
from livecaption.server.growing import GROWING
from livecaption.server.services import SERVICES


def forget_kept(app: web.Application, session_id: str) -> None:
    """Forget all transcripts that are kept of a session, because it was deleted."""
    app[GROWING].forget(session_id)
    app[EXPORTS].forget(session_id)
    app[FOLLOWED].forget(session_id)


async def note_deleted(app: web.Application, session_id: str) -> None:
    """Forget a session that the store does not have any more, with its sinks. One that is not kept was never there."""
    session = app[SERVICES].sessions.known(session_id)
    if session is not None and not session.options.keep:
        return
    forget_kept(app, session_id)
    app[SERVICES].rooms.remove_part(session_id)
    await app[SERVICES].sinks.detach_all(session_key(session_id))


def note_renamed(app: web.Application, session_id: str, title: str | None, names: Mapping[int, str]) -> None:
    """Give a session the title and names of speakers that the store has. `title`: None: it stays."""
    app[SERVICES].rooms.rename_part(session_id, title, names)
    if names:
        # What only grows, such as segments for players, keeps the names that it has.
        app[EXPORTS].forget(session_id)


async def apply(app: web.Application, session_id: str) -> None:
    """Do what another server has done with a stored session.

    Raises:
        StoreFailed: the store cannot be read.
    """
    services = app[SERVICES]
    assert services.store is not None  # the others share it
    record = await services.store.session(session_id)
    if record is None:
        await note_deleted(app, session_id)
        return
    session = services.sessions.known(session_id)
    known = {} if session is None else session.hub.names
    title = None if session is not None and session.hub.title == record.title else record.title
    names = {speaker: name for speaker, name in record.names.items() if known.get(speaker) != name}
    note_renamed(app, session_id, title, names)
