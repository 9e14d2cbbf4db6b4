-- name: serial
SELECT ended FROM serial

-- name: set_serial
UPDATE serial SET ended = ?

-- name: tally
INSERT INTO tally (of, state, jobs) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs

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

-- name: bells
SELECT port, secret FROM bell WHERE topics & ?
