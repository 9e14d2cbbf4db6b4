-- name: known
SELECT lease, beat, judges FROM worker WHERE id = ?

-- name: beat
INSERT OR REPLACE INTO worker (id, host, pid, started, runtime, queues, slots, busy, lease, detail, beat, judges)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: sign_off
UPDATE worker SET lease = 0 WHERE id = ?

-- name: standing
SELECT state, attempt, stop FROM job WHERE id = ?
