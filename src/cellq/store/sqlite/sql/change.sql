-- name: standing
SELECT state, seq, line, key, code, stop FROM job WHERE id = ?

-- name: ask
UPDATE job SET stop = 1 WHERE seq = ?

-- name: live_key
SELECT 1 FROM job WHERE key = ? AND ended IS NULL

-- name: files
SELECT iif(typeof(payload) = 'text', payload, NULL), iif(typeof(result) = 'text', result, NULL),
       iif(typeof(error) = 'text', error, NULL)
  FROM job WHERE seq = ?

-- name: retry
UPDATE job SET state = ?, refunds = attempt, stop = 0, worker = NULL, started = NULL, finished = NULL, ended = NULL,
       logged = 0, dropped = 0, progress = '', failure = NULL, result = NULL, error = NULL
 WHERE seq = ?

-- name: silence
DELETE FROM event WHERE job = ?

-- name: delete
DELETE FROM job WHERE seq = ?

-- name: tune
UPDATE queue SET paused = ifnull(?, paused), max_running = ifnull(?, max_running) WHERE id = ?
