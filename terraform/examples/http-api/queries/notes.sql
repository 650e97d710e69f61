-- name: notes :many
-- http: GET
-- Notes of the caller's tenant.
SELECT id, author, text FROM notes ORDER BY id;

-- name: add_note :one
-- http: POST
-- write
-- param: text text in 1..=2000
INSERT INTO notes (text) VALUES (:text) RETURNING id;

-- name: edit_note :exec
-- http: POST
-- param: id int
-- param: text text in 1..=2000
UPDATE notes SET text = :text WHERE id = :id;
