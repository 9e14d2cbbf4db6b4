-- name: lines
SELECT line.id, line.lane, line.queue, queue.max_running,
       (SELECT min(due) FROM job WHERE state = 1 AND job.line = line.id),
       EXISTS (SELECT 1 FROM job WHERE state = 0 AND job.line = line.id),
       (SELECT jobs FROM tally WHERE line = 0 AND state = 1)
  FROM line JOIN queue ON queue.id = line.queue
 WHERE queue.name IN ({queues}) AND line.runtime IN (?, '') AND NOT queue.paused

-- name: running
SELECT line.queue, count(*) FROM job JOIN line ON line.id = job.line WHERE state = 2 GROUP BY line.queue

-- name: promote
UPDATE job SET state = 0, due = NULL WHERE state = 1 AND line = ? AND due <= ?

-- name: next_due
SELECT min(due) FROM job WHERE state = 1 AND line = ?

-- name: ready
SELECT -priority, seq FROM job WHERE state = 0 AND line = ? ORDER BY priority DESC, seq LIMIT ?

-- name: standing
SELECT -priority, seq, concurrency_key, max_running FROM job LEFT JOIN term ON term.job = seq
 WHERE state = 0 AND line = ? ORDER BY priority DESC, seq

-- name: start
UPDATE job SET state = 2, worker = ?, attempt = attempt + 1, started = ?
 WHERE seq IN (SELECT value FROM json_each(?))
RETURNING -priority, seq, line, id, attempt, task, kind, code, payload, timeout, retries, backoff, isolated, origin, ctx,
          refunds
