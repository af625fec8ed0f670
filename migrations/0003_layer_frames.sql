-- A finished layer as the engine told of it, one line of JSON, for the attempt that goes on after this one. Null once the job has succeeded.
ALTER TABLE job_layers ADD COLUMN frame TEXT;
