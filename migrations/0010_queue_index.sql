-- Places in the queue are counted along this index (server/store/store_queue.c), which has all that the pass asks about a job.
DROP VIEW queue;
DROP INDEX jobs_queue;
CREATE INDEX jobs_queue ON jobs(status, owner, priority DESC, id, visibility, created_at);
