-- The embedded bus: topics, records, and consumer groups with their offsets and leases.
CREATE TABLE bus_partitions (
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

CREATE TABLE bus_records (
    topic        TEXT    NOT NULL,
    partition    INTEGER NOT NULL,
    offset       INTEGER NOT NULL,
    timestamp_ms INTEGER NOT NULL,
    key          BLOB,
    value        BLOB,
    headers      TEXT,
    PRIMARY KEY (topic, partition, offset)
) WITHOUT ROWID;

CREATE TABLE bus_offsets (
    group_name TEXT    NOT NULL,
    topic      TEXT    NOT NULL,
    partition  INTEGER NOT NULL,
    offset     INTEGER NOT NULL,
    metadata   TEXT    NOT NULL,
    PRIMARY KEY (group_name, topic, partition)
) WITHOUT ROWID;

CREATE TABLE bus_members (
    group_name    TEXT    NOT NULL,
    topic         TEXT    NOT NULL,
    member        TEXT    NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (group_name, topic, member)
) WITHOUT ROWID;

CREATE TABLE bus_leases (
    group_name TEXT    NOT NULL,
    topic      TEXT    NOT NULL,
    partition  INTEGER NOT NULL,
    member     TEXT    NOT NULL,
    lease      TEXT    NOT NULL,
    PRIMARY KEY (group_name, topic, partition)
) WITHOUT ROWID;

-- The ledger: runs, and the outbox of users.
CREATE TABLE runs (
    run_id        TEXT    PRIMARY KEY,
    pipeline      TEXT    NOT NULL,
    trigger       TEXT    NOT NULL,
    scheduled_for INTEGER,
    started_at    INTEGER NOT NULL,
    finished_at   INTEGER,
    state         TEXT    NOT NULL,
    seed          TEXT,
    attempts      INTEGER NOT NULL DEFAULT 1,
    claimed_by    TEXT,
    claimed_until INTEGER NOT NULL DEFAULT 0,
    next_page     INTEGER,
    fetched       INTEGER NOT NULL DEFAULT 0,
    produced      INTEGER NOT NULL DEFAULT 0,
    rejected      INTEGER NOT NULL DEFAULT 0,
    error         TEXT
) WITHOUT ROWID;
CREATE INDEX runs_by_pipeline ON runs (pipeline, started_at);
CREATE INDEX runs_open ON runs (pipeline, started_at) WHERE state IN ('running', 'requested');
-- A slot is one run's, whoever asks first.
CREATE UNIQUE INDEX runs_by_slot ON runs (pipeline, scheduled_for) WHERE scheduled_for IS NOT NULL;

CREATE TABLE run_logs (
    line   INTEGER PRIMARY KEY,
    run_id TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    level  TEXT    NOT NULL,
    text   TEXT    NOT NULL
);
CREATE INDEX run_logs_by_run ON run_logs (run_id, line);

CREATE TABLE paused_schedules (
    pipeline  TEXT    PRIMARY KEY,
    paused_at INTEGER NOT NULL
) WITHOUT ROWID;

-- With a rowid: the keys are random and the rows large, so clustering by key would rewrite a page for each.
CREATE TABLE outbox (
    run_id        TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    pipeline      TEXT    NOT NULL,
    record        TEXT    NOT NULL,
    raw           TEXT,
    stored_at     INTEGER NOT NULL,
    claimed_by    TEXT    NOT NULL,
    claimed_until INTEGER NOT NULL,
    published_at  INTEGER,
    partition     INTEGER,
    offset        INTEGER,
    PRIMARY KEY (run_id, id)
);
CREATE INDEX outbox_pending ON outbox (pipeline, claimed_until) WHERE published_at IS NULL;
CREATE INDEX outbox_by_time ON outbox (pipeline, stored_at);
CREATE INDEX outbox_by_id ON outbox (id);

CREATE TABLE rejections (
    run_id      TEXT    NOT NULL,
    pipeline    TEXT    NOT NULL,
    id          TEXT,
    reason      TEXT    NOT NULL,
    raw         TEXT,
    rejected_at INTEGER NOT NULL
);
CREATE INDEX rejections_by_pipeline ON rejections (pipeline, rejected_at);
CREATE INDEX rejections_by_id ON rejections (id);

-- Persons who were purged: nothing but the id.
CREATE TABLE suppressed (
    pipeline  TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    purged_at INTEGER NOT NULL,
    PRIMARY KEY (pipeline, id)
) WITHOUT ROWID;

-- Dead letters that were sent again.
CREATE TABLE replayed (
    pipeline    TEXT    NOT NULL,
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    offset      INTEGER NOT NULL,
    replayed_at INTEGER NOT NULL,
    PRIMARY KEY (pipeline, topic, partition, offset)
) WITHOUT ROWID;

-- How the last verification of everything ended.
CREATE TABLE verifications (
    pipeline    TEXT    PRIMARY KEY,
    verified_at INTEGER NOT NULL,
    holes       INTEGER NOT NULL,
    foreign_ids INTEGER NOT NULL,
    in_flight   INTEGER NOT NULL,
    summary     TEXT    NOT NULL
) WITHOUT ROWID;
