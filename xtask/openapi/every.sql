-- One of each thing that the OpenAPI document tells of. `cargo xtask openapi` calls them with whatever the document
-- allows, and with what it does not.

-- name: every_parameter :one
-- http: GET, POST
-- param: a bool
-- param: b int in -5..=5
-- param: c float in ..1000
-- param: d decimal
-- param: e text in 1..=20
-- param: f uuid
-- param: g date = 2026-01-31 in 1900-01-01..
-- param: h time
-- param: i timestamp
-- param: j timestamptz
-- param: k json
-- param: l bytes in ..=8
SELECT :a AS a, :b AS b, :c AS c, :d AS d, :e AS e, :f AS f, :g AS g, :h AS h, :i AS i, :j AS j, :k AS k, :l AS l;

-- name: every_nullable_parameter :one
-- http: GET, POST
-- param: a bool? = null
-- param: b int? = null
-- param: c float? = null
-- param: d decimal? = null
-- param: e text? = null
-- param: f uuid? = null
-- param: g date? = null
-- param: h time? = null
-- param: i timestamp? = null
-- param: j timestamptz? = null
-- param: k json? = null
-- param: l bytes? = null
SELECT :a AS a, :b AS b, :c AS c, :d AS d, :e AS e, :f AS f, :g AS g, :h AS h, :i AS i, :j AS j, :k AS k, :l AS l;

-- name: every_column :many
-- engine: postgres
-- http: GET
SELECT * FROM every;

-- name: maybe_every_column :many
-- engine: postgres
-- http: GET
-- max_rows: 50
-- param: id int
SELECT u.id AS user_id, e.* FROM users u LEFT JOIN every e ON e.id = :id AND e.id = u.id ORDER BY u.id LIMIT 50;

-- name: of_ids :many
-- engine: postgres
-- http: GET, POST
-- param: ids int[] in ..=5
SELECT id, name FROM users WHERE id = ANY(:ids);

-- name: of_ids :many
-- engine: sqlite
-- http: GET, POST
-- param: ids int[] in ..=5
SELECT id, name FROM users WHERE id IN (:ids);

-- name: with_a_key :one
-- http: GET, POST
-- param: key text from header.Idempotency-Key
-- param: times int = 1 from header.X-Times
SELECT :key AS key, :times AS times;

-- name: mine :one
-- http: GET
-- param: owner uuid from claims.sub
SELECT :owner AS owner;

-- name: into_jsonb :one
-- engine: postgres
-- http: POST
-- write
-- param: id int in 2..
-- param: doc json
UPDATE every SET u = :doc WHERE id = :id RETURNING id, u;

-- name: quotient :one
-- engine: postgres
-- http: GET
-- param: a int
-- param: b int in 1..
SELECT :a / :b AS quotient;
