-- Times are milliseconds since 1970, digests 64 hexadecimal digits of SHA-256, JSON is text.

CREATE TABLE models(
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL,             -- of the model file itself
    size       INTEGER NOT NULL,
    digest     TEXT,                      -- identity: the file and its external files; null while one is missing
    ir_version INTEGER NOT NULL,
    opset      INTEGER NOT NULL,
    nodes      INTEGER NOT NULL,
    inputs     TEXT NOT NULL,             -- JSON, as the inspection gave it
    outputs    TEXT NOT NULL,
    layers     TEXT NOT NULL,
    layer_count      INTEGER NOT NULL,
    searchable_count INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX models_sha256 ON models(sha256);

-- External data that a model names; sha256 is null until the file was uploaded.
CREATE TABLE model_files(
    model_id TEXT NOT NULL REFERENCES models(id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    sha256   TEXT,
    size     INTEGER,
    PRIMARY KEY (model_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_files_sha256 ON model_files(sha256);

CREATE TABLE calibrations(
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL UNIQUE,
    size       INTEGER NOT NULL,
    arrays     TEXT NOT NULL,             -- JSON: [{name, type, shape}]
    samples    INTEGER,                   -- rows that all arrays have; null where they differ
    created_at INTEGER NOT NULL
) STRICT;

-- Calibration sets that feed a model, as an inspection found: a cache. What does not fit is not kept.
CREATE TABLE fits(
    model_sha256       TEXT NOT NULL,
    calibration_sha256 TEXT NOT NULL,
    batch_size         INTEGER NOT NULL,
    num_batches        INTEGER NOT NULL,
    samples            INTEGER NOT NULL,
    samples_used       INTEGER NOT NULL,
    PRIMARY KEY (model_sha256, calibration_sha256, batch_size, num_batches)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs(
    id                 TEXT PRIMARY KEY,
    name               TEXT NOT NULL,
    labels             TEXT NOT NULL,     -- JSON object of texts
    status             TEXT NOT NULL CHECK (status IN ('queued', 'running', 'canceling', 'succeeded', 'failed', 'canceled')),
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
    finished_at        INTEGER
) STRICT;
CREATE INDEX jobs_status ON jobs(status, id);
CREATE INDEX jobs_model ON jobs(model_id, status);
CREATE INDEX jobs_calibration ON jobs(calibration_id, status);

-- Finished layers, one row each, committed as they come; grids hold four little-endian doubles a channel: min, max, delta, offset.
CREATE TABLE job_layers(
    job_id      TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
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

CREATE TABLE job_warnings(
    job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
    seq    INTEGER NOT NULL,
    code   TEXT NOT NULL,
    layer  TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts(
    job_id     TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX artifacts_sha256 ON artifacts(sha256);

CREATE TABLE events(
    job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
    seq    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    event  TEXT NOT NULL,
    data   TEXT NOT NULL,                 -- JSON object
    PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;

-- Every use of a blob: a blob that stands in none of these rows may be removed.
CREATE VIEW blob_uses(sha256) AS
    SELECT sha256 FROM models
    UNION ALL SELECT sha256 FROM model_files WHERE sha256 IS NOT NULL
    UNION ALL SELECT sha256 FROM calibrations
    UNION ALL SELECT sha256 FROM artifacts;
