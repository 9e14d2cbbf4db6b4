-- name: identity
SELECT place FROM journal WHERE name = ''

-- name: places
SELECT name, place FROM journal WHERE name <> ''

-- name: begin
INSERT INTO journal (name, place) VALUES (?, ?) ON CONFLICT DO NOTHING

-- name: move
UPDATE journal SET place = ? WHERE name = ? AND place = ?

-- name: forget
DELETE FROM journal WHERE name = ?
