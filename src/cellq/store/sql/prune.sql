-- name: oldest
SELECT ended, finished, seq, line, code FROM job WHERE state = ? AND ended IS NOT NULL ORDER BY ended LIMIT ?

-- name: idle_code
SELECT tally.of, iif(typeof(code.body) = 'text', code.body, NULL)
  FROM tally LEFT JOIN code ON code.digest = tally.of WHERE tally.state = '' AND tally.jobs <= 0 LIMIT ?

-- name: forget_tally
DELETE FROM tally WHERE of = ? AND state = ''

-- name: forget_code
DELETE FROM code WHERE digest = ?

-- name: silent
DELETE FROM worker
 WHERE abs(? - beat) > max(lease, ?) AND NOT EXISTS (SELECT 1 FROM job WHERE state = 2 AND worker = worker.id)

-- name: bells
SELECT port, secret, pid FROM bell WHERE host = ?

-- name: forget_bell
DELETE FROM bell WHERE port = ? AND secret = ?

-- name: job_files
SELECT payload, result, error FROM job WHERE id = ?

-- name: code_file
SELECT body FROM code WHERE digest = ?
