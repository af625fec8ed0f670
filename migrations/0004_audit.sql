-- Who changed what: a row for every request that came as far as changing something, where there are keys. Rows are never changed.
CREATE TABLE audit(
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    owner      TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    address    TEXT NOT NULL,             -- "" over a unix socket
    method     TEXT NOT NULL,
    path       TEXT NOT NULL,             -- without the query
    status     INTEGER NOT NULL,
    request_id TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_rows_stay BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is only added to'); END;
CREATE TRIGGER audit_rows_are_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is only added to'); END;
