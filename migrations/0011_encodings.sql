-- Uploaded encodings files, which jobs start from.
CREATE TABLE encodings(
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    sha256      TEXT NOT NULL,
    size        INTEGER NOT NULL,
    parameters  INTEGER NOT NULL,          -- entries of each kind
    activations INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    owner       TEXT NOT NULL,
    visibility  TEXT NOT NULL CHECK (visibility IN ('team', 'private')),
    labels      TEXT NOT NULL,
    UNIQUE (owner, sha256)
) STRICT;
CREATE INDEX encodings_sha256 ON encodings(sha256);

-- Every use of a blob: a blob that stands in none of these rows may be removed.
DROP VIEW blob_uses;
CREATE VIEW blob_uses(sha256) AS
    SELECT sha256 FROM models
    UNION ALL SELECT sha256 FROM model_files WHERE sha256 IS NOT NULL
    UNION ALL SELECT sha256 FROM calibrations
    UNION ALL SELECT sha256 FROM encodings
    UNION ALL SELECT sha256 FROM artifacts;
