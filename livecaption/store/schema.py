"""Define the tables, by the steps that lead to them. Pure: text.

`user_version` of a database is the number of steps that it has taken. A new database takes all of them. A released step
is never changed: the next change is a step of its own.
"""

APPLICATION_ID = 0x6C636170
"""Number that distinguishes our files from other programs' databases ("lcap")."""

MIGRATIONS = (
    # 1: sessions and their finals. A `number` is never used again, so it gives an order and a position in a list.
    """
    CREATE TABLE session (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        language TEXT,
        private INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'ended', 'interrupted')),
        started_at_ms INTEGER NOT NULL,
        duration_ms INTEGER NOT NULL DEFAULT 0,
        n_finals INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX session_open ON session (state) WHERE state = 'open';
    CREATE TABLE final (
        number INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES session ON DELETE CASCADE,
        utterance INTEGER NOT NULL,
        text TEXT NOT NULL,
        start_ms INTEGER NOT NULL,
        end_ms INTEGER NOT NULL,
        language TEXT,
        confidence REAL NOT NULL,
        latency_ms INTEGER NOT NULL,
        words TEXT,
        UNIQUE (session, utterance)
    ) STRICT;
    CREATE TRIGGER final_counted AFTER INSERT ON final BEGIN
        UPDATE session SET
            duration_ms = max(duration_ms, new.end_ms),
            n_finals = n_finals + (new.text <> ''),
            language = coalesce(language, new.language)
        WHERE number = new.session;
    END;
    """,
    # 2: the index of words. It keeps no text of its own; triggers keep it equal to the tables that have the text.
    """
    CREATE VIRTUAL TABLE final_text USING fts5(
        text, content = 'final', content_rowid = 'number', tokenize = 'unicode61 remove_diacritics 2'
    );
    CREATE TRIGGER final_indexed AFTER INSERT ON final BEGIN
        INSERT INTO final_text (rowid, text) VALUES (new.number, new.text);
    END;
    CREATE TRIGGER final_forgotten AFTER DELETE ON final BEGIN
        INSERT INTO final_text (final_text, rowid, text) VALUES ('delete', old.number, old.text);
    END;
    INSERT INTO final_text (final_text) VALUES ('rebuild');
    CREATE VIRTUAL TABLE session_title USING fts5(
        title, content = 'session', content_rowid = 'number', tokenize = 'unicode61 remove_diacritics 2'
    );
    CREATE TRIGGER session_indexed AFTER INSERT ON session BEGIN
        INSERT INTO session_title (rowid, title) VALUES (new.number, new.title);
    END;
    CREATE TRIGGER session_forgotten AFTER DELETE ON session BEGIN
        INSERT INTO session_title (session_title, rowid, title) VALUES ('delete', old.number, old.title);
    END;
    INSERT INTO session_title (session_title) VALUES ('rebuild');
    """,
    # 3: data that a session needs after a crash of the server; it is deleted when the session ends.
    """
    ALTER TABLE final ADD COLUMN seq INTEGER;
    CREATE TABLE resumption (
        session INTEGER PRIMARY KEY REFERENCES session ON DELETE CASCADE,
        start TEXT NOT NULL,
        resume_token_hash TEXT NOT NULL,
        reader_token_hash TEXT,
        life INTEGER NOT NULL DEFAULT 0,
        interrupted_at_ms INTEGER,
        settled_ms INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    """,
    # 4: columns have the terms of the glossary.
    """
    ALTER TABLE resumption RENAME COLUMN life TO generation;
    ALTER TABLE resumption RENAME COLUMN settled_ms TO checkpoint_ms;
    """,
    # 5: the time without audio before the checkpoint.
    """
    ALTER TABLE resumption ADD COLUMN shift_ms INTEGER NOT NULL DEFAULT 0;
    """,
    # 6: the channel of a final, from 0, or NULL if channels are mixed; the time without audio before the final.
    """
    ALTER TABLE final ADD COLUMN channel INTEGER;
    ALTER TABLE final ADD COLUMN shift_ms INTEGER NOT NULL DEFAULT 0;
    UPDATE final SET shift_ms = (SELECT shift_ms FROM resumption WHERE resumption.session = final.session)
        WHERE session IN (SELECT session FROM resumption);
    """,
    # 7: rooms, and the room of a session, or NULL. A room without reader token is not private.
    """
    CREATE TABLE room (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        publisher_token_hash TEXT NOT NULL,
        reader_token_hash TEXT,
        created_at_ms INTEGER NOT NULL,
        ended_at_ms INTEGER
    ) STRICT;
    ALTER TABLE session ADD COLUMN room INTEGER REFERENCES room ON DELETE SET NULL;
    CREATE INDEX session_room ON session (room) WHERE room IS NOT NULL;
    """,
    # 8: titles can be changed, and the index of words with them.
    """
    CREATE TRIGGER session_renamed AFTER UPDATE OF title ON session BEGIN
        INSERT INTO session_title (session_title, rowid, title) VALUES ('delete', old.number, old.title);
        INSERT INTO session_title (rowid, title) VALUES (new.number, new.title);
    END;
    """,
    # 9: finals in other languages.
    """
    CREATE TABLE translation (
        final INTEGER NOT NULL REFERENCES final ON DELETE CASCADE,
        language TEXT NOT NULL,
        text TEXT NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (final, language)
    ) STRICT, WITHOUT ROWID;
    """,
    # 10: the number of a room's present event, 0 before its first part, and of the event of each session. The names of
    # rooms ignore case.
    """
    ALTER TABLE room ADD COLUMN event INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE session ADD COLUMN event INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX room_name ON room (name COLLATE NOCASE);
    """,
    # 11: the turns of a final as a list of [speaker, length in characters, start_ms, end_ms], or NULL if speakers
    # are not distinguished; the highest number of a speaker in a session; the names of speakers.
    """
    ALTER TABLE final ADD COLUMN turns TEXT;
    ALTER TABLE session ADD COLUMN n_speakers INTEGER NOT NULL DEFAULT 0;
    CREATE TRIGGER final_spoken AFTER INSERT ON final WHEN new.turns IS NOT NULL BEGIN
        UPDATE session SET n_speakers = max(
            n_speakers, coalesce((SELECT max(json_extract(value, '$[0]')) FROM json_each(new.turns)), 0)
        ) WHERE number = new.session;
    END;
    CREATE TABLE speaker_name (
        session INTEGER NOT NULL REFERENCES session ON DELETE CASCADE,
        speaker INTEGER NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (session, speaker)
    ) STRICT, WITHOUT ROWID;
    """,
    # 12: the process that has the session, of those that share the file, or NULL.
    """
    ALTER TABLE session ADD COLUMN owner TEXT;
    CREATE INDEX session_owner ON session (owner) WHERE owner IS NOT NULL;
    """,
    # 13: the process that has the room, or NULL, and the number of those that had it before.
    """
    ALTER TABLE room ADD COLUMN owner TEXT;
    ALTER TABLE room ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
    """,
    # 14: the time of the Unix clock at which the session was ended or interrupted, or NULL: it is open, or an earlier
    # version has written that. `duration_ms` is without pauses at the end, and with audio that was sent in advance.
    """
    ALTER TABLE session ADD COLUMN ended_at_ms INTEGER;
    CREATE TRIGGER session_ended AFTER UPDATE OF state ON session
    WHEN (old.state = 'open') <> (new.state = 'open') BEGIN
        UPDATE session SET ended_at_ms = iif(new.state = 'open', NULL, strftime('%s', 'now') * 1000)
        WHERE number = new.number;
    END;
    """,
)

SCHEMA_VERSION = len(MIGRATIONS)

SEARCH_INDEXES = ("final_text", "session_title")
