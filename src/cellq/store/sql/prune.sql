-- name: oldest
SELECT ended, finished, seq, line, code FROM job WHERE state = ? AND ended IS NOT NULL ORDER BY ended LIMIT ?

-- name: idle_code
SELECT digest, iif(typeof(code.body) = 'text', code.body, NULL)
  FROM demand LEFT JOIN code USING (digest) WHERE jobs <= 0 LIMIT ?

-- name: forget_demand
DELETE FROM demand WHERE digest = ?

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
