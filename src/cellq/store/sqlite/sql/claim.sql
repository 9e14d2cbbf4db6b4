-- name: lines
SELECT line.id, line.lane, (SELECT min(due) FROM job WHERE state = 1 AND job.line = line.id),
       EXISTS (SELECT 1 FROM job WHERE state = 0 AND job.line = line.id)
  FROM line JOIN queue ON queue.id = line.queue
 WHERE queue.name IN ({queues}) AND line.runtime IN (?, '') AND NOT queue.paused

-- name: promote
UPDATE job SET state = 0, due = NULL WHERE state = 1 AND line = ? AND due <= ?

-- name: next_due
SELECT min(due) FROM job WHERE state = 1 AND line = ?

-- name: ready
SELECT -priority, seq FROM job WHERE state = 0 AND line = ? ORDER BY priority DESC, seq LIMIT ?

-- name: start
UPDATE job SET state = 2, worker = ?, attempt = attempt + 1, started = ?
 WHERE seq IN (SELECT value FROM json_each(?))
RETURNING -priority, seq, line, id, attempt, task, kind, code, payload, timeout, retries, backoff, isolated, origin, ctx,
          refunds

-- name: workers
SELECT id, host, pid, started, lease, beat, judges FROM worker ORDER BY id

-- name: held
SELECT seq, line, attempt - refunds, retries, stop FROM job WHERE state = 2 AND worker = ? ORDER BY seq

-- name: return_to_line
UPDATE job SET state = 0, worker = NULL WHERE seq = ?

-- name: bury
UPDATE job SET state = ?, finished = ?, ended = ?, failure = ?, stop = 0 WHERE seq = ?

-- name: forget
DELETE FROM worker WHERE id = ?
