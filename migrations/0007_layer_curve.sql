-- The layer's loss with each candidate, an array of JSON; null in it where not all grids tried it. Null where nothing was searched, and for layers of before.
ALTER TABLE job_layers ADD COLUMN curve TEXT;
