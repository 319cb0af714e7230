-- The ledger: runs, and the outbox of users. Times are milliseconds since the Unix epoch, as on the wire of Kafka.
CREATE TABLE userpipe.runs (
    run_id        UUID   PRIMARY KEY,
    pipeline      TEXT   NOT NULL,
    trigger       TEXT   NOT NULL,
    scheduled_for BIGINT,
    started_at    BIGINT NOT NULL,
    finished_at   BIGINT,
    state         TEXT   NOT NULL,
    seed          TEXT,
    attempts      INT    NOT NULL DEFAULT 1,
    claimed_by    UUID,
    claimed_until BIGINT NOT NULL DEFAULT 0,
    next_page     BIGINT,
    fetched       BIGINT NOT NULL DEFAULT 0,
    produced      BIGINT NOT NULL DEFAULT 0,
    rejected      BIGINT NOT NULL DEFAULT 0,
    error         TEXT
);
CREATE INDEX runs_by_pipeline ON userpipe.runs (pipeline, started_at);
CREATE INDEX runs_open ON userpipe.runs (pipeline, started_at) WHERE state IN ('running', 'requested');
-- A slot is one run's, whoever asks first.
CREATE UNIQUE INDEX runs_by_slot ON userpipe.runs (pipeline, scheduled_for) WHERE scheduled_for IS NOT NULL;

CREATE TABLE userpipe.run_logs (
    line   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id UUID   NOT NULL,
    at     BIGINT NOT NULL,
    level  TEXT   NOT NULL,
    text   TEXT   NOT NULL
);
CREATE INDEX run_logs_by_run ON userpipe.run_logs (run_id, line);

CREATE TABLE userpipe.paused_schedules (
    pipeline  TEXT   PRIMARY KEY,
    paused_at BIGINT NOT NULL
);

CREATE TABLE userpipe.outbox (
    run_id        UUID   NOT NULL,
    id            UUID   NOT NULL,
    pipeline      TEXT   NOT NULL,
    record        TEXT   NOT NULL,
    raw           TEXT,
    stored_at     BIGINT NOT NULL,
    claimed_by    UUID   NOT NULL,
    claimed_until BIGINT NOT NULL,
    published_at  BIGINT,
    partition     INT,
    "offset"      BIGINT,
    PRIMARY KEY (run_id, id)
);
CREATE INDEX outbox_pending ON userpipe.outbox (pipeline, claimed_until) WHERE published_at IS NULL;
CREATE INDEX outbox_by_time ON userpipe.outbox (pipeline, stored_at);
CREATE INDEX outbox_by_id ON userpipe.outbox (id);

CREATE TABLE userpipe.rejections (
    run_id      UUID   NOT NULL,
    pipeline    TEXT   NOT NULL,
    id          UUID,
    reason      TEXT   NOT NULL,
    raw         TEXT,
    rejected_at BIGINT NOT NULL
);
CREATE INDEX rejections_by_pipeline ON userpipe.rejections (pipeline, rejected_at);
CREATE INDEX rejections_by_id ON userpipe.rejections (id);

-- Persons who were purged: nothing but the id.
CREATE TABLE userpipe.suppressed (
    pipeline  TEXT   NOT NULL,
    id        UUID   NOT NULL,
    purged_at BIGINT NOT NULL,
    PRIMARY KEY (pipeline, id)
);

-- Dead letters that were sent again.
CREATE TABLE userpipe.replayed (
    pipeline    TEXT   NOT NULL,
    topic       TEXT   NOT NULL,
    partition   INT    NOT NULL,
    "offset"    BIGINT NOT NULL,
    replayed_at BIGINT NOT NULL,
    PRIMARY KEY (pipeline, topic, partition, "offset")
);

-- How the last verification of everything ended.
CREATE TABLE userpipe.verifications (
    pipeline    TEXT   PRIMARY KEY,
    verified_at BIGINT NOT NULL,
    holes       BIGINT NOT NULL,
    foreign_ids BIGINT NOT NULL,
    in_flight   BIGINT NOT NULL,
    summary     TEXT   NOT NULL
);
