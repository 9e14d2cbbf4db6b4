-- name: oldest
SELECT ended, finished, seq, line, code FROM job WHERE state = ? AND ended IS NOT NULL ORDER BY ended LIMIT ?

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
