-- What the generated clients call, beside the sample queries and those of ../openapi/every.sql.

-- name: exact :one
-- http: GET, POST
-- Gives back what it got. */ """ \
-- param: wide int -- 64 bits
-- param: digits decimal
-- param: ratio float = 1.5
-- param: doc json = {"a": [1]}
-- param: raw bytes = 'AP8='
-- param: wides int[] = []
-- param: state text = 'open' in {'open', 'closed'} -- where it stands
-- param: level int? = null in {1, 2, 5}
-- param: marks text[] = [] in {a, b}
SELECT :wide::bigint AS wide, :digits::numeric AS digits, :ratio::float8 AS ratio, :doc::jsonb AS doc, :raw::bytea AS raw,
       :wides::bigint[] AS wides, :state::text AS state, :level::bigint AS level, :marks::text[] AS marks,
       NULL::text AS "no name";

-- name: class :one
-- http: GET
-- param: from text
-- param: via text = 'x'
SELECT :from::text AS from, :via::text AS "class";

-- name: add :one
-- http: POST
-- write
-- param: name text
-- param: email text
INSERT INTO users (name, email) VALUES (:name, :email) RETURNING id;

-- name: found :one
-- http: POST
-- param: id int
SELECT id, name, email FROM users WHERE id = :id;

-- name: by_name :many
-- http: GET, POST
-- page: name, id
-- page_size: 2 in 1..=10
-- param: from_id int = 0
SELECT id, name FROM users WHERE id >= :from_id;

-- name: forget :exec
DELETE FROM users WHERE id > 2;

-- name: privately :many
-- Over HTTP nobody can call it.
SELECT id FROM users ORDER BY id LIMIT 1;

-- name: refused :one
-- http: POST
-- write
SELECT refuse() AS never;

-- name: pay :one
-- http: POST
-- write
-- idempotency_key: header.Idempotency-Key
-- param: name text
-- param: email text
INSERT INTO users (name, email) VALUES (:name, :email) RETURNING id;

-- name: pay_for :one
-- http: POST
-- write
-- idempotency_key: param.order?
-- param: order text? = null
-- param: email text
INSERT INTO users (name, email) VALUES ('of an order', :email) RETURNING id;
