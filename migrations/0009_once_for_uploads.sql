-- Idempotency keys also stand for models, calibration sets and uploads in pieces; and whether the first answer was that the object was there already.
ALTER TABLE once RENAME COLUMN job_id TO object_id;
ALTER TABLE once ADD COLUMN existing INTEGER NOT NULL DEFAULT 0;
