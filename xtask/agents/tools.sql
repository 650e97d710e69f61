-- name: every :one
-- tool: Every type
-- Gives back what it got, one column for each type.
-- param: a_bool bool
-- param: an_int int -- a whole number
-- param: a_float float
-- param: a_decimal decimal
-- param: a_text text in 0..=100
-- param: a_uuid uuid
-- param: a_date date
-- param: a_time time
-- param: a_timestamp timestamp
-- param: a_timestamptz timestamptz
-- param: a_json json
-- param: some_bytes bytes
-- param: some_ints int[]
-- param: a_state text? = null in {'open', 'closed'} -- where it stands
SELECT :a_bool::bool AS a_bool, :an_int::bigint AS an_int, :a_float::float8 AS a_float, :a_decimal::numeric AS a_decimal,
       :a_text::text AS a_text, :a_uuid::uuid AS a_uuid, :a_date::date AS a_date, :a_time::time AS a_time,
       :a_timestamp::timestamp AS a_timestamp, :a_timestamptz::timestamptz AS a_timestamptz, :a_json::jsonb AS a_json,
       :some_bytes::bytea AS some_bytes, :some_ints::bigint[] AS some_ints, :a_state::text AS a_state;
-- name: numbers :many
-- tool: Numbers
-- The numbers from 1 on.
-- param: count int = 3 in 1..=100000 -- how many
SELECT n FROM generate_series(1, :count) AS n;
-- name: odd :many
-- tool: What is seldom
-- Dates and numbers that other programs do not know.
SELECT 'infinity'::date AS d, 'infinity'::timestamptz AS t, 'NaN'::float8 AS f, '-1 day'::interval AS i, NULL::int AS n;
-- name: touch :exec
-- tool: Touch
-- Changes nothing, though it may.
UPDATE users SET name = name WHERE id < 0;
-- name: mine :one
-- tool: Me
-- Who asks.
-- param: sub text from claims.sub
SELECT :sub::text AS sub;
-- name: none :one
-- tool: Nobody
-- There is none.
SELECT 1 AS one WHERE FALSE;
-- name: hidden :many
SELECT 1 AS one;
