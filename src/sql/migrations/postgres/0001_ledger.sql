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
    next_page     BIGINT,
    fetched       BIGINT NOT NULL DEFAULT 0,
    produced      BIGINT NOT NULL DEFAULT 0,
    rejected      BIGINT NOT NULL DEFAULT 0,
    error         TEXT
);
CREATE INDEX runs_by_pipeline ON userpipe.runs (pipeline, started_at);

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
