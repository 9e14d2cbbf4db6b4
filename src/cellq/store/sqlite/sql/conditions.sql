-- name: parent
SELECT state FROM job WHERE id = ?

-- name: add_term
INSERT INTO term (job, expires, concurrency_key, max_running, inputs) VALUES (?, ?, ?, ?, ?)

-- name: add_edge
INSERT INTO edge (child, place, parent) VALUES (?, ?, ?)

-- name: let_start
UPDATE job SET state = iif(due IS NULL, 0, 1)
 WHERE seq IN (SELECT child FROM edge WHERE parent = ?1) AND state = 6
   AND NOT EXISTS (SELECT 1 FROM edge WHERE child = job.seq AND parent <> ?1)

-- name: forget_parent
DELETE FROM edge WHERE parent = ?

-- name: children
SELECT seq, id, line FROM edge CROSS JOIN job ON seq = child WHERE parent = ? AND state = 6 ORDER BY seq

-- name: cancel
UPDATE job SET state = 5, due = NULL, finished = ?, ended = ?, failure = ? WHERE seq = ?

-- name: drop_terms
UPDATE term SET expires = NULL WHERE job = ? RETURNING concurrency_key, max_running

-- name: late
SELECT job FROM term WHERE expires <= ? ORDER BY expires, job LIMIT ?

-- name: standing
SELECT state, id, line FROM job WHERE seq = ?

-- name: next_expiry
SELECT min(expires) FROM term WHERE expires IS NOT NULL

-- name: start
UPDATE term SET expires = NULL, running = concurrency_key IS NOT NULL
 WHERE job IN (SELECT value FROM json_each(?)) RETURNING job, inputs

-- name: leave
UPDATE term SET running = 0 WHERE job = ? AND running = 1 RETURNING concurrency_key

-- name: running
SELECT count(*) FROM term WHERE concurrency_key = ? AND running = 1

-- name: block
UPDATE job SET state = 7 WHERE seq = ?

-- name: unblock
UPDATE job SET state = 0 WHERE seq = ?

-- name: add_blocked
INSERT INTO blocked (concurrency_key, max_running, line, rank, job) VALUES (?, ?, ?, ?, ?)

-- name: remove_blocked
DELETE FROM blocked WHERE concurrency_key = ? AND max_running = ? AND line = ? AND rank = ? AND job = ?

-- name: cancel_blocked
DELETE FROM blocked
 WHERE concurrency_key = ? AND max_running = ? AND line = ?
   AND rank = (SELECT -priority FROM job WHERE seq = ?4) AND job = ?4

-- name: next_of_group
SELECT rank, job FROM blocked
 WHERE concurrency_key = ? AND max_running = ? AND line = ? AND (rank, job) > (?, ?) ORDER BY rank, job LIMIT 1

-- name: next_group
SELECT max_running, line, rank, job FROM blocked
 WHERE concurrency_key = ? AND (max_running, line, rank) > (?, ?, ?)
 ORDER BY max_running, line, rank, job LIMIT 1

-- name: left_to_wait_for
SELECT parent, state FROM edge LEFT JOIN job ON job.id = edge.parent WHERE child = ? ORDER BY place

-- name: forget_terms
DELETE FROM term WHERE job = ?

-- name: forget_edges
DELETE FROM edge WHERE child = ?
