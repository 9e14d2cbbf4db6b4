-- name: log
SELECT state, attempt, seq, heard, logged, dropped, progress FROM job WHERE id = ?

-- name: append
INSERT INTO event (job, place, attempt, at, kind, data) VALUES (?, ?, ?, ?, ?, ?)

-- name: measure
UPDATE job SET heard = ?, logged = ?, dropped = ?, progress = ? WHERE seq = ?
