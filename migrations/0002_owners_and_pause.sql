-- Owners, visibility, labels and priorities of objects; jobs that pause; turns of the queue; idempotency keys.
--
-- SQLite cannot change a CHECK or a UNIQUE of a table that is there, so jobs and calibrations are made anew. What refers to jobs
-- is made anew first: dropping the old table would otherwise take its rows along.

DROP VIEW blob_uses;

ALTER TABLE models ADD COLUMN owner TEXT NOT NULL DEFAULT '';       -- '': made when there were no keys
ALTER TABLE models ADD COLUMN visibility TEXT NOT NULL DEFAULT 'team' CHECK (visibility IN ('team', 'private'));
ALTER TABLE models ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
CREATE INDEX models_owner ON models(owner);

CREATE TABLE calibrations_new(
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    arrays     TEXT NOT NULL,             -- JSON: [{name, type, shape}]
    samples    INTEGER,                   -- rows that all arrays have; null where they differ
    created_at INTEGER NOT NULL,
    owner      TEXT NOT NULL DEFAULT '',
    visibility TEXT NOT NULL DEFAULT 'team' CHECK (visibility IN ('team', 'private')),
    labels     TEXT NOT NULL DEFAULT '{}',
    UNIQUE (owner, sha256)
) STRICT;
INSERT INTO calibrations_new(id, name, sha256, size, arrays, samples, created_at)
    SELECT id, name, sha256, size, arrays, samples, created_at FROM calibrations;
DROP TABLE calibrations;
ALTER TABLE calibrations_new RENAME TO calibrations;
CREATE INDEX calibrations_sha256 ON calibrations(sha256);

CREATE TABLE jobs_new(
    id                 TEXT PRIMARY KEY,
    name               TEXT NOT NULL,
    labels             TEXT NOT NULL,     -- JSON object of texts
    status             TEXT NOT NULL CHECK (status IN
                           ('queued', 'running', 'pausing', 'paused', 'canceling', 'succeeded', 'failed', 'canceled')),
    attempt            INTEGER NOT NULL DEFAULT 0, -- counts claims; the token that a worker shows with every write
    deaths             INTEGER NOT NULL DEFAULT 0, -- engine children of this job that died
    lease_until        INTEGER,           -- a running job past it may be claimed again
    model_id           TEXT NOT NULL,
    model_sha256       TEXT NOT NULL,     -- the model's identity
    calibration_id     TEXT NOT NULL,
    calibration_sha256 TEXT NOT NULL,
    samples            INTEGER NOT NULL,
    samples_used       INTEGER NOT NULL,
    params             TEXT NOT NULL,     -- JSON object of every effective setting
    phase              TEXT,
    layers_done        INTEGER NOT NULL DEFAULT 0,
    layers_total       INTEGER NOT NULL DEFAULT 0,
    fraction           REAL NOT NULL DEFAULT 0,
    current            TEXT,
    heartbeat_at       INTEGER,
    error_code         TEXT,
    error_detail       TEXT,
    cpu_seconds        REAL NOT NULL DEFAULT 0,
    peak_rss_bytes     INTEGER NOT NULL DEFAULT 0,
    wall_seconds       REAL NOT NULL DEFAULT 0,
    created_at         INTEGER NOT NULL,
    started_at         INTEGER,
    finished_at        INTEGER,
    owner              TEXT NOT NULL DEFAULT '',
    visibility         TEXT NOT NULL DEFAULT 'team' CHECK (visibility IN ('team', 'private')),
    priority           INTEGER NOT NULL DEFAULT 0,
    deadline_seconds   INTEGER NOT NULL DEFAULT 0, -- that it may run, all attempts together; 0: for ever
    fingerprint        TEXT NOT NULL DEFAULT '',   -- equal ones have equal results; '': not known
    reused_from        TEXT,              -- the job whose results these are
    retry_of           TEXT
) STRICT;
INSERT INTO jobs_new(id, name, labels, status, attempt, deaths, lease_until, model_id, model_sha256, calibration_id,
        calibration_sha256, samples, samples_used, params, phase, layers_done, layers_total, fraction, current, heartbeat_at,
        error_code, error_detail, cpu_seconds, peak_rss_bytes, wall_seconds, created_at, started_at, finished_at)
    SELECT id, name, labels, status, attempt, deaths, lease_until, model_id, model_sha256, calibration_id,
        calibration_sha256, samples, samples_used, params, phase, layers_done, layers_total, fraction, current, heartbeat_at,
        error_code, error_detail, cpu_seconds, peak_rss_bytes, wall_seconds, created_at, started_at, finished_at FROM jobs;

CREATE TABLE job_layers_new(
    job_id      TEXT NOT NULL REFERENCES jobs_new(id) ON DELETE CASCADE,
    layer       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    node        TEXT NOT NULL,
    op_type     TEXT NOT NULL,
    weight      TEXT NOT NULL,
    channels    INTEGER NOT NULL,
    fan_in      INTEGER NOT NULL,
    strategy    TEXT NOT NULL,
    rechecked   INTEGER NOT NULL,
    seconds     REAL NOT NULL,
    loss        REAL,                     -- sums over the channels; null when not finite
    minmax_loss REAL,
    chosen      TEXT NOT NULL,            -- JSON: a candidate a channel
    grids       BLOB NOT NULL,
    PRIMARY KEY (job_id, layer)
) STRICT;
INSERT INTO job_layers_new SELECT job_id, layer, attempt, node, op_type, weight, channels, fan_in, strategy, rechecked, seconds,
        loss, minmax_loss, chosen, grids FROM job_layers;

CREATE TABLE job_warnings_new(
    job_id TEXT NOT NULL REFERENCES jobs_new(id) ON DELETE CASCADE,
    seq    INTEGER NOT NULL,
    code   TEXT NOT NULL,
    layer  TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO job_warnings_new SELECT job_id, seq, code, layer, detail FROM job_warnings;

CREATE TABLE artifacts_new(
    job_id     TEXT NOT NULL REFERENCES jobs_new(id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
) STRICT, WITHOUT ROWID;
INSERT INTO artifacts_new SELECT job_id, name, sha256, size, media_type FROM artifacts;

CREATE TABLE events_new(
    job_id TEXT NOT NULL REFERENCES jobs_new(id) ON DELETE CASCADE,
    seq    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    event  TEXT NOT NULL,
    data   TEXT NOT NULL,                 -- JSON object
    PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO events_new SELECT job_id, seq, at, event, data FROM events;

DROP TABLE job_layers;
DROP TABLE job_warnings;
DROP TABLE artifacts;
DROP TABLE events;
DROP TABLE jobs;
ALTER TABLE jobs_new RENAME TO jobs;
ALTER TABLE job_layers_new RENAME TO job_layers;
ALTER TABLE job_warnings_new RENAME TO job_warnings;
ALTER TABLE artifacts_new RENAME TO artifacts;
ALTER TABLE events_new RENAME TO events;
CREATE INDEX jobs_status ON jobs(status, id);
CREATE INDEX jobs_queue ON jobs(status, owner, priority DESC, id);
CREATE INDEX jobs_model ON jobs(model_id, status);
CREATE INDEX jobs_calibration ON jobs(calibration_id, status);
CREATE INDEX jobs_fingerprint ON jobs(fingerprint, owner, status);
CREATE INDEX artifacts_sha256 ON artifacts(sha256);

-- When an owner's job was last begun, by a counter: the queue serves owners in turn.
CREATE TABLE turns(
    owner  TEXT PRIMARY KEY,
    served INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Idempotency keys, and the job that each made or changed.
CREATE TABLE once(
    owner       TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,            -- of the request
    job_id      TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX once_at ON once(at);

-- Every use of a blob: a blob that stands in none of these rows may be removed.
CREATE VIEW blob_uses(sha256) AS
    SELECT sha256 FROM models
    UNION ALL SELECT sha256 FROM model_files WHERE sha256 IS NOT NULL
    UNION ALL SELECT sha256 FROM calibrations
    UNION ALL SELECT sha256 FROM artifacts;

-- The queue in the order in which it will be served: owners in turn, each one's jobs by priority and age.
CREATE VIEW queue(id, position) AS
    SELECT id, row_number() OVER (ORDER BY turn, served, owner) FROM (
        SELECT j.id, j.owner, coalesce(t.served, 0) AS served,
               row_number() OVER (PARTITION BY j.owner ORDER BY j.priority DESC, j.id) AS turn
        FROM jobs j LEFT JOIN turns t ON t.owner = j.owner WHERE j.status = 'queued');
