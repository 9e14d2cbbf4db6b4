-- name: numbers
SELECT state, jobs FROM tally WHERE line = 0

-- name: note_use
INSERT INTO tally (line, state, jobs) VALUES (0, ?, 1) ON CONFLICT DO NOTHING

-- name: note_limits
INSERT OR REPLACE INTO tally SELECT 0, 3, count(*) FROM queue WHERE max_running > 0

-- name: drop_uses
DELETE FROM tally
 WHERE line = 0 AND (state = 1 AND NOT EXISTS (SELECT 1 FROM term) OR state = 2 AND NOT EXISTS (SELECT 1 FROM edge))

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
