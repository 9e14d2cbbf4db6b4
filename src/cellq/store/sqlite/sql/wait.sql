-- name: hang
INSERT OR REPLACE INTO bell (port, secret, topics, host, pid) VALUES (?, ?, ?, ?, ?)

-- name: bells
SELECT port, secret, topics FROM bell

-- name: take_down
DELETE FROM bell WHERE port = ? AND secret = ?
