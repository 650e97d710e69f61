-- What queries.sql needs beside the tables of ../openapi/schema.sql.
CREATE FUNCTION refuse() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
-- As `lambda-rds tables --engine postgres` prints it.
CREATE TABLE "lambda_rds_idempotency" (
    id bytea PRIMARY KEY,
    request bytea NOT NULL,
    reply bytea,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX "lambda_rds_idempotency_expires_at" ON "lambda_rds_idempotency" (expires_at);
