"""Define the tables of PostgreSQL, by the steps that lead to them. Pure: text.

The table `livecaption` has the number of steps that a database has taken, and the fewest that a program must have to
use it. So a server of the version before goes on while others are replaced: a step only adds, and a later one removes
what no server uses any more. A released step is never changed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        script: its statements.
        is_for_all: whether a program without the step can use the database after it.
    """

    script: str
    is_for_all: bool


MIGRATIONS = (
    # 1: everything that SQLite's store has in version 11; see `store.schema`. `found` has the words of a text.
    # `owner` is the server that has the session, and `generation` the number of those that had it before.
    Step(
        """
        CREATE TABLE room (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL UNIQUE,
            title text NOT NULL,
            publisher_token_hash text NOT NULL,
            reader_token_hash text,
            created_at_ms bigint NOT NULL,
            ended_at_ms bigint,
            event bigint NOT NULL DEFAULT 0
        );
        CREATE INDEX room_name ON room (lower(name));
        CREATE TABLE session (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            id text NOT NULL UNIQUE,
            title text NOT NULL,
            language text,
            private boolean NOT NULL,
            state text NOT NULL CHECK (state IN ('open', 'ended', 'interrupted')),
            started_at_ms bigint NOT NULL,
            duration_ms bigint NOT NULL DEFAULT 0,
            n_finals bigint NOT NULL DEFAULT 0,
            n_speakers bigint NOT NULL DEFAULT 0,
            room bigint REFERENCES room ON DELETE SET NULL,
            event bigint NOT NULL DEFAULT 0,
            found tsvector NOT NULL,
            owner uuid,
            generation bigint NOT NULL DEFAULT 0
        );
        CREATE INDEX session_order ON session (started_at_ms DESC, number DESC);
        CREATE INDEX session_owner ON session (owner) WHERE owner IS NOT NULL;
        CREATE INDEX session_room ON session (room) WHERE room IS NOT NULL;
        CREATE INDEX session_words ON session USING gin (found);
        CREATE TABLE final (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            session bigint NOT NULL REFERENCES session ON DELETE CASCADE,
            utterance bigint NOT NULL,
            text text NOT NULL,
            start_ms bigint NOT NULL,
            end_ms bigint NOT NULL,
            language text,
            confidence double precision NOT NULL,
            latency_ms bigint NOT NULL,
            words text,
            channel bigint,
            turns text,
            seq bigint NOT NULL,
            shift_ms bigint NOT NULL,
            found tsvector NOT NULL,
            UNIQUE (session, utterance)
        );
        -- A longer list of waiting words holds up one of 9000 finals for a second: docs/decisions/0063-shared-store.md.
        CREATE INDEX final_words ON final USING gin (found) WITH (gin_pending_list_limit = 256);
        CREATE TABLE translation (
            final bigint NOT NULL REFERENCES final ON DELETE CASCADE,
            language text NOT NULL,
            text text NOT NULL,
            seq bigint NOT NULL,
            PRIMARY KEY (final, language)
        );
        CREATE TABLE speaker_name (
            session bigint NOT NULL REFERENCES session ON DELETE CASCADE,
            speaker bigint NOT NULL,
            name text NOT NULL,
            PRIMARY KEY (session, speaker)
        );
        CREATE TABLE resumption (
            session bigint PRIMARY KEY REFERENCES session ON DELETE CASCADE,
            start text NOT NULL,
            resume_token_hash text NOT NULL,
            reader_token_hash text,
            interrupted_at_ms bigint,
            checkpoint_ms bigint NOT NULL DEFAULT 0,
            shift_ms bigint NOT NULL DEFAULT 0
        );
        """,
        is_for_all=False,
    ),
    # 2: the server that has the room, or NULL, and the number of those that had it before.
    Step(
        """
        ALTER TABLE room ADD COLUMN owner uuid;
        ALTER TABLE room ADD COLUMN generation bigint NOT NULL DEFAULT 0;
        """,
        is_for_all=True,
    ),
    # 3: the time at which the session was ended or interrupted, see step 14 of `store.schema`; also by a server that
    # does not have this step.
    Step(
        """
        ALTER TABLE session ADD COLUMN ended_at_ms bigint;
        CREATE FUNCTION session_ended() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            new.ended_at_ms := CASE WHEN new.state <> 'open' THEN extract(epoch FROM clock_timestamp()) * 1000 END;
            RETURN new;
        END $$;
        CREATE TRIGGER session_ended BEFORE UPDATE OF state ON session FOR EACH ROW
            WHEN ((old.state = 'open') <> (new.state = 'open')) EXECUTE FUNCTION session_ended();
        """,
        is_for_all=True,
    ),
)

VERSION = len(MIGRATIONS)


def oldest(steps: tuple[Step, ...]) -> int:
    """Return the fewest steps that a program must have to use a database that has taken these."""
    return max((number for number, step in enumerate(steps, start=1) if not step.is_for_all), default=0)
