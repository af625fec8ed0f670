-- Uploads that may come in pieces (tus). Their bytes lie in STATE/uploads/ID; "offset" of them are on the disk for certain.
CREATE TABLE uploads(
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('models', 'calibrations')),
    name       TEXT NOT NULL,
    visibility TEXT NOT NULL,
    model      TEXT,                      -- that a calibration set is to fit
    size       INTEGER NOT NULL,
    offset     INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    result_id  TEXT                       -- what it became
) STRICT;
CREATE INDEX uploads_owner ON uploads(owner);
CREATE INDEX uploads_expires ON uploads(expires_at);
