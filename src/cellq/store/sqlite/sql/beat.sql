-- name: known
SELECT lease, beat, judges FROM worker WHERE id = ?

-- name: beat
INSERT OR REPLACE INTO worker (id, host, pid, started, runtime, queues, slots, busy, lease, detail, beat, judges)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: sign_off
UPDATE worker SET lease = 0 WHERE id = ?

-- name: standing
SELECT state, attempt, stop FROM job WHERE id = ?

-- name: workers
SELECT id, host, pid, started, lease, beat, judges FROM worker ORDER BY id

-- name: held
SELECT seq, id, line, attempt - refunds, retries, stop FROM job WHERE state = 2 AND worker = ? ORDER BY seq

-- name: return_to_line
UPDATE job SET state = 0, worker = NULL WHERE seq = ?

-- name: bury
UPDATE job SET state = ?, finished = ?, ended = ?, failure = ?, stop = 0 WHERE seq = ?

-- name: forget
DELETE FROM worker WHERE id = ?
