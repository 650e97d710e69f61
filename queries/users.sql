-- The sample queries, which the README, the tests and the Terraform example share. They run on every engine alike
-- and expect a table users with the columns id (made by the database), name, email (unique)
-- and active.

-- name: active_users :many
-- http: GET
-- Users who are active, lowest id first; with active=false those who are not.
-- param: active bool = true
-- param: limit int = 50 in 1..=500
SELECT id, name, email FROM users WHERE active = :active ORDER BY id LIMIT :limit;

-- name: user :one
-- http: GET
-- One user by id.
-- param: id int
SELECT id, name, email, active FROM users WHERE id = :id;

-- name: add_user :exec
-- http: POST
-- Adds a user. An email address that is taken is refused as a conflict.
-- param: name text
-- param: email text
-- param: active bool = true
INSERT INTO users (name, email, active) VALUES (:name, :email, :active);

-- name: rename_user :exec
-- http: POST
-- Gives a user another name. An unknown id changes no row, which the reply tells.
-- param: id int
-- param: name text
UPDATE users SET name = :name WHERE id = :id;
