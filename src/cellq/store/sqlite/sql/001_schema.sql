-- The first schema. What is found by an index comes first in a row, blobs come last, so that listing never reads them.

CREATE TABLE queue (
  id     INTEGER PRIMARY KEY,
  name   TEXT NOT NULL UNIQUE,
  paused INTEGER NOT NULL DEFAULT 0
);

-- What a claim asks for, as one small number: an equality that leads the index job_ready.
CREATE TABLE line (
  id      INTEGER PRIMARY KEY,
  queue   INTEGER NOT NULL REFERENCES queue (id),
  lane    INTEGER NOT NULL,
  runtime TEXT NOT NULL,
  UNIQUE (queue, lane, runtime)
);

-- How many jobs of a line have ended in a state: they only grow, and counting a million rows takes 0.1 s. Pending and
-- running ones are counted when somebody asks, so that pushing and claiming write nothing here.
-- Line 0 is none: its row holds the last number given to an ending, which is never given twice, also after a delete,
-- since it serves as a cursor. (Here, because each page that a commit writes costs it some 7 us.)
CREATE TABLE tally (
  line  INTEGER NOT NULL,
  state INTEGER NOT NULL,
  jobs  INTEGER NOT NULL,
  PRIMARY KEY (line, state)
) WITHOUT ROWID;
INSERT INTO tally VALUES (0, 0, 0);

CREATE TABLE job (
  seq       INTEGER PRIMARY KEY,           -- the order of pushing
  id        BLOB NOT NULL UNIQUE,
  state     INTEGER NOT NULL,              -- 0 ready, 1 delayed, 2 running, 3 completed, 4 failed, 5 cancelled
  line      INTEGER NOT NULL,
  priority  INTEGER NOT NULL,
  due       REAL,                          -- delayed ones only
  worker    BLOB,                          -- who runs it, or ran it last
  attempt   INTEGER NOT NULL DEFAULT 0,    -- starts; with the id it is the lease, so it never goes back
  refunds   INTEGER NOT NULL DEFAULT 0,    -- starts that do not count
  stop      INTEGER NOT NULL DEFAULT 0,    -- a running job was asked to stop
  created   REAL NOT NULL,
  started   REAL,
  finished  REAL,
  ended     INTEGER,                       -- the how-manieth to end in this store
  retries   INTEGER NOT NULL,
  timeout   REAL,
  backoff   REAL NOT NULL,
  isolated  INTEGER NOT NULL,
  kind      TEXT NOT NULL,
  task      TEXT NOT NULL,
  name      TEXT NOT NULL,
  key       TEXT,
  code      BLOB NOT NULL,
  heard     INTEGER NOT NULL DEFAULT 0,    -- events said so far: the place of the last one
  logged    INTEGER NOT NULL DEFAULT 0,    -- bytes of them kept
  dropped   INTEGER NOT NULL DEFAULT 0,    -- bytes of them over the cap
  progress  TEXT NOT NULL DEFAULT '',
  failure   TEXT,
  origin    TEXT NOT NULL,
  ctx       TEXT NOT NULL,
  payload,                                 -- these three: a BLOB is the value, a TEXT names the file that holds it
  result,
  error
);

-- Every partial index starts with its condition's column: a general (state, ...) index misleads the planner (2 us
-- became 11 ms at 100,000 delayed jobs).
CREATE INDEX job_ready   ON job (state, line, priority DESC, seq) WHERE state = 0;
CREATE INDEX job_delayed ON job (state, line, due)                WHERE state = 1;
CREATE INDEX job_running ON job (state, worker, line)             WHERE state = 2;
CREATE INDEX job_ended   ON job (state, ended)                    WHERE ended IS NOT NULL;
CREATE INDEX job_key     ON job (key, seq)                        WHERE key IS NOT NULL;
CREATE UNIQUE INDEX job_live_key ON job (key)                     WHERE key IS NOT NULL AND ended IS NULL;

-- How it is found that nobody needs a code any more: see `codebook`.
CREATE TABLE code (
  digest  BLOB PRIMARY KEY,
  witness INTEGER NOT NULL,                -- no job before this one (a seq) refers to it
  search  INTEGER,                         -- NULL: the witness refers to it. 0, 1: waits, or is looked for, in a search
  body                                     -- as a payload; NULL: referred to, but nobody has brought it
);
CREATE INDEX code_search ON code (search, witness) WHERE search IS NOT NULL;

CREATE TABLE event (
  job     INTEGER NOT NULL,
  place   INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at      REAL NOT NULL,
  kind    TEXT NOT NULL,
  data    TEXT NOT NULL,
  PRIMARY KEY (job, place)
) WITHOUT ROWID;

CREATE TABLE worker (
  id      BLOB PRIMARY KEY,
  host    TEXT NOT NULL,
  pid     INTEGER NOT NULL,
  started REAL NOT NULL,
  runtime TEXT NOT NULL,
  queues  TEXT NOT NULL,
  slots   INTEGER NOT NULL,
  busy    INTEGER NOT NULL,
  lease   REAL NOT NULL,                   -- 0 once it has signed off
  detail  TEXT NOT NULL,
  beat    REAL NOT NULL,
  judges  REAL NOT NULL DEFAULT 0          -- from when on it may call others silent
) WITHOUT ROWID;

CREATE TABLE bucket (
  name   TEXT PRIMARY KEY,
  tokens REAL NOT NULL,
  at     REAL NOT NULL
) WITHOUT ROWID;

-- Who is to be rung on this machine after a commit, and for which topics.
CREATE TABLE bell (
  port   INTEGER PRIMARY KEY,
  secret BLOB NOT NULL,
  topics INTEGER NOT NULL,
  host   TEXT NOT NULL,
  pid    INTEGER NOT NULL
);

-- How far each journal is in the rows (see `journal`); '' holds the identity of this database, made with it.
CREATE TABLE journal (
  name  TEXT PRIMARY KEY,
  place INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO journal VALUES ('', random() & 9223372036854775807);
