CREATE ROLE member;
GRANT member TO app;

CREATE TABLE notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL DEFAULT current_setting('app.tenant'),
    author text NOT NULL DEFAULT current_setting('request.jwt.claims')::json ->> 'sub',
    text text NOT NULL
);
CREATE INDEX ON notes (tenant, id);
GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO member;

ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON notes TO member
    USING (tenant = nullif(current_setting('app.tenant', true), ''));
CREATE POLICY own_changes ON notes AS RESTRICTIVE FOR UPDATE TO member
    USING (author = current_setting('request.jwt.claims', true)::json ->> 'sub');
