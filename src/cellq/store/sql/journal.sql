-- name: identity
SELECT place FROM journal WHERE name = ''

-- name: places
SELECT name, place FROM journal WHERE name <> ''

-- name: reach
INSERT INTO journal (name, place) VALUES (?, ?) ON CONFLICT DO UPDATE SET place = excluded.place

-- name: forget
DELETE FROM journal WHERE name = ?
