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
    ('Ada Lovelace',      'ada@example.com',      TRUE),
    ('Alan Turing',       'alan@example.com',     TRUE),
    ('Annie Easley',      'annie@example.com',    FALSE),
    ('Barbara Liskov',    'barbara@example.com',  TRUE),
    ('Edgar F. Codd',     'edgar@example.com',    FALSE),
    ('Grace Hopper',      'grace@example.com',    TRUE),
    ('Katherine Johnson', 'katherine@example.com', TRUE),
    ('Michael Stonebraker', 'michael@example.com', TRUE);
