-- name: known
SELECT 1 FROM job WHERE id = ?

-- name: live_key
SELECT id FROM job WHERE key = ? AND ended IS NULL

-- name: add
INSERT INTO job (id, state, line, priority, due, created, retries, timeout, backoff, isolated,
                 kind, task, name, key, code, origin, ctx, payload, worker, attempt, started)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING
