-- The sample database of the first steps: what `lambda-rds invoke active_users` reads where no database is
-- configured. Whoever changes this raises the number, so that existing copies are made anew.
PRAGMA user_version = 1;

CREATE TABLE users (
    id     INTEGER PRIMARY KEY,
    name   TEXT    NOT NULL,
    email  TEXT    NOT NULL UNIQUE,
    active BOOLEAN NOT NULL DEFAULT TRUE CHECK (active IN (FALSE, TRUE))
);

INSERT INTO users (name, email, active) VALUES
    ('Ada',       'ada@example.com',       TRUE),
    ('Grace',     'grace@example.com',     TRUE),
    ('Edgar',     'edgar@example.com',     FALSE),
    ('Barbara',   'barbara@example.com',   TRUE),
    ('Katherine', 'katherine@example.com', TRUE),
    ('Annie',     'annie@example.com',     FALSE),
    ('Alan',      'alan@example.com',      TRUE),
    ('Michael',   'michael@example.com',   TRUE);
