-- name: standing
SELECT state, attempt, stop, seq, line, iif(typeof(error) = 'text', error, NULL) FROM job WHERE id = ?

-- name: end
UPDATE job SET state = ?, finished = ?, ended = ?, stop = 0, failure = ?, ctx = ifnull(?, ctx), result = ?, error = ?
 WHERE seq = ?

-- name: again
UPDATE job SET state = ?, due = ?, worker = NULL, failure = ?, ctx = ifnull(?, ctx), error = ? WHERE seq = ?

-- name: release
UPDATE job SET state = ?, due = ?, worker = NULL, refunds = refunds + 1, ctx = ifnull(?, ctx) WHERE seq = ?
