-- name: serial
SELECT jobs FROM tally WHERE line = 0

-- name: tally
INSERT INTO tally (line, state, jobs) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs

-- name: queue
SELECT id FROM queue WHERE name = ?

-- name: add_queue
INSERT INTO queue (name) VALUES (?)

-- name: line
SELECT id FROM line WHERE queue = ? AND lane = ? AND runtime = ?

-- name: add_line
INSERT INTO line (queue, lane, runtime) VALUES (?, ?, ?)

-- name: line_by_id
SELECT line.queue, queue.name, line.lane, line.runtime FROM line JOIN queue ON queue.id = line.queue WHERE line.id = ?
