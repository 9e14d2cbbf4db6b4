-- name: hang
INSERT OR REPLACE INTO bell (port, secret, topics, host, pid) VALUES (?, ?, ?, ?, ?)

-- name: take_down
DELETE FROM bell WHERE port = ? AND secret = ?
