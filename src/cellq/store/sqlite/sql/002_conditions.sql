-- What keeps a pending job from starting (see `conditions`). Jobs that know none of it have no row in these tables.
-- New states of a job, both pending: 6 waiting for other jobs, 7 blocked by others of its concurrency key.
-- New rows of the tally, of line 0: what the database makes use of at all. State 1: rows in `term`, 2: rows in `edge`,
-- 3: how many queues are limited. (Here, because each transaction that ends jobs reads the row beside them anyway.)

ALTER TABLE queue ADD COLUMN max_running INTEGER NOT NULL DEFAULT 0;

-- One for both: each index costs every change of a job's state something.
CREATE INDEX job_aside ON job (state, line) WHERE state > 5;

CREATE TABLE term (
  job             INTEGER PRIMARY KEY,
  expires         REAL,                        -- until it has started or ended
  concurrency_key TEXT,
  max_running     INTEGER NOT NULL,
  running         INTEGER NOT NULL DEFAULT 0,  -- it runs, and has a key
  inputs          BLOB                         -- ids, 16 bytes each
);
CREATE INDEX term_expires ON term (expires, job)    WHERE expires IS NOT NULL;
CREATE INDEX term_running ON term (concurrency_key) WHERE running = 1;

-- What a job waits for, by id: a parent may be gone.
CREATE TABLE edge (
  child  INTEGER NOT NULL,
  place  INTEGER NOT NULL,
  parent BLOB NOT NULL,
  PRIMARY KEY (child, place)
) WITHOUT ROWID;
CREATE INDEX edge_parent ON edge (parent, child);

-- The blocked jobs by group, in the order in which they are to start.
CREATE TABLE blocked (
  concurrency_key TEXT NOT NULL,
  max_running     INTEGER NOT NULL,
  line            INTEGER NOT NULL,
  rank            INTEGER NOT NULL,            -- priority, negative
  job             INTEGER NOT NULL,
  PRIMARY KEY (concurrency_key, max_running, line, rank, job)
) WITHOUT ROWID;
