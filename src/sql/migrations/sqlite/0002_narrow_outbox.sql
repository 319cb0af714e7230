-- The outbox in tables that cost little to write: what all users of a run have in common stands once, ids are the 16 bytes that
-- they are, and an acknowledgement is a narrow row of its own, since the row of a user is never written again. The view
-- `outbox` shows them as one table with ids as text.
DROP INDEX outbox_pending;

CREATE TABLE outbox_runs (
    run      INTEGER PRIMARY KEY,
    run_id   TEXT    NOT NULL UNIQUE,
    pipeline TEXT    NOT NULL
);

-- With a rowid: the keys are random and the rows large, so clustering by key would rewrite a page for each.
CREATE TABLE outbox_users (
    user      INTEGER PRIMARY KEY,
    run       INTEGER NOT NULL,
    id        BLOB    NOT NULL,
    stored_at INTEGER NOT NULL,
    record    TEXT    NOT NULL,
    raw       TEXT,
    UNIQUE (run, id)
);
CREATE INDEX outbox_users_by_id ON outbox_users (id);
CREATE INDEX outbox_users_by_time ON outbox_users (stored_at);

-- A process claims the users that it stores; one row is renewed for all of them.
CREATE TABLE outbox_claims (
    claim    INTEGER PRIMARY KEY,
    pipeline TEXT    NOT NULL,
    owner    TEXT    NOT NULL,
    until    INTEGER NOT NULL
);

-- Each user is in one of these two: it waits, or the bus has acknowledged it.
CREATE TABLE outbox_pending (
    user  INTEGER PRIMARY KEY,
    claim INTEGER NOT NULL
);
CREATE TABLE outbox_places (
    user         INTEGER PRIMARY KEY,
    published_at INTEGER NOT NULL,
    partition    INTEGER NOT NULL,
    offset       INTEGER NOT NULL
);
CREATE TRIGGER outbox_removed AFTER DELETE ON outbox_users BEGIN
    DELETE FROM outbox_pending WHERE user = OLD.user;
    DELETE FROM outbox_places WHERE user = OLD.user;
END;

-- What is there already. A row without a mark keeps its claim.
INSERT INTO outbox_runs (run_id, pipeline) SELECT run_id, min(pipeline) FROM outbox GROUP BY run_id;
INSERT INTO outbox_users (user, run, id, stored_at, record, raw)
    SELECT old.rowid, runs.run, unhex(old.id, '-'), old.stored_at, old.record, old.raw
    FROM outbox AS old JOIN outbox_runs AS runs ON runs.run_id = old.run_id ORDER BY old.rowid;
INSERT INTO outbox_places (user, published_at, partition, offset)
    SELECT rowid, published_at, partition, offset FROM outbox WHERE published_at IS NOT NULL ORDER BY rowid;
INSERT INTO outbox_claims (pipeline, owner, until)
    SELECT DISTINCT pipeline, claimed_by, claimed_until FROM outbox WHERE published_at IS NULL;
INSERT INTO outbox_pending (user, claim)
    SELECT old.rowid, claims.claim FROM outbox AS old JOIN outbox_claims AS claims
    ON claims.pipeline = old.pipeline AND claims.owner = old.claimed_by AND claims.until = old.claimed_until
    WHERE old.published_at IS NULL ORDER BY old.rowid;
DROP TABLE outbox;

-- For people and their shells.
CREATE VIEW outbox AS
    SELECT runs.run_id,
        lower(substr(hex(users.id), 1, 8) || '-' || substr(hex(users.id), 9, 4) || '-' || substr(hex(users.id), 13, 4)
            || '-' || substr(hex(users.id), 17, 4) || '-' || substr(hex(users.id), 21)) AS id,
        runs.pipeline, users.record, users.raw, users.stored_at, claims.owner AS claimed_by,
        claims.until AS claimed_until, places.published_at, places.partition, places.offset
    FROM outbox_users AS users
    JOIN outbox_runs AS runs ON runs.run = users.run
    LEFT JOIN outbox_places AS places ON places.user = users.user
    LEFT JOIN outbox_pending AS pending ON pending.user = users.user
    LEFT JOIN outbox_claims AS claims ON claims.claim = pending.claim;
