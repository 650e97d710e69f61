-- What queries.sql needs beside the tables of ../openapi/schema.sql.
CREATE FUNCTION refuse() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
