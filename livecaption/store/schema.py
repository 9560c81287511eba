"""The tables, as the steps that lead to them. Pure: text.

A database says in `user_version` how many of the steps it has taken; a new one takes all of them. A step that was
released is never changed: what comes next is a step of its own.
"""

APPLICATION_ID = 0x6C636170
""""lcap": tells our files from other programs' databases."""

MIGRATIONS = (
    # 1: sessions and their finals. `number` is given once and never again, so it is an order and a place in a list.
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
    # 2: the index of words. It keeps no text of its own; the triggers keep it in step with what it refers to.
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
    # 3: what a session needs to go on after the death of the server; it is deleted when the session ends.
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
)

SCHEMA_VERSION = len(MIGRATIONS)

SEARCH_INDEXES = ("final_text", "session_title")
