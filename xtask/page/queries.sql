-- What the page is tried with, beside the queries of the clients.

-- name: groups :one
-- http: GET
-- param: groups json from claims.groups
SELECT :groups::jsonb ->> 0 AS first, jsonb_typeof(:groups::jsonb) AS kind;
