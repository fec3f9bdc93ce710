-- Who is signed in at the console: see the package console. Times are seconds
-- since 1970 in UTC.

-- +goose Up
CREATE TABLE web_session (
    id      BIGINT NOT NULL PRIMARY KEY,
    token   BYTEA  NOT NULL UNIQUE, -- SHA-256 of what the browser has
    account BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    made    BIGINT NOT NULL,
    shown   BIGINT NOT NULL, -- when password and factor were shown last
    used    BIGINT NOT NULL, -- to a few minutes
    address TEXT   NOT NULL, -- where the browser was when it signed in
    client  TEXT   NOT NULL  -- what it called itself
);
CREATE INDEX web_session_account ON web_session (account, used);

-- +goose Down
DROP TABLE web_session;
