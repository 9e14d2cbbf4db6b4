-- name: standing
SELECT witness, body IS NULL FROM code WHERE digest = ?

-- name: add
INSERT INTO code (digest, witness, search, body) VALUES (?, ?, ?, ?)

-- name: bring
UPDATE code SET body = ? WHERE digest = ?

-- name: witnessed
UPDATE code SET witness = ?, search = NULL WHERE digest = ?

-- name: lose_witness
UPDATE code SET search = 0 WHERE digest = ? AND witness = ?

-- name: reached
SELECT min(witness) FROM code WHERE search = 1

-- name: begin
UPDATE code SET search = 1 WHERE search = 0

-- name: stretch
SELECT max(seq), count(*) FROM (SELECT seq FROM job WHERE seq >= ? ORDER BY seq LIMIT ?)

-- name: witnesses
SELECT min(seq), code FROM job
 WHERE seq BETWEEN ? AND ? AND code IN (SELECT digest FROM code WHERE search = 1) GROUP BY code

-- name: go_on
UPDATE code SET witness = ? WHERE search = 1 AND witness < ?

-- name: unwanted
SELECT digest FROM code WHERE search = 1 LIMIT ?

-- name: forget
DELETE FROM code WHERE digest = ?
