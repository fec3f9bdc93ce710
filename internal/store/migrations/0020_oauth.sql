-- Programs that got tokens in place of a password: see the package grant.
-- Times are seconds since 1970 in UTC.

-- +goose Up
CREATE TABLE oauth_client (
    id        TEXT   NOT NULL PRIMARY KEY,
    name      TEXT   NOT NULL, -- what people are shown
    redirects TEXT   NOT NULL, -- one on a line
    created   BIGINT NOT NULL
);

CREATE TABLE oauth_grant (
    id      BIGINT NOT NULL PRIMARY KEY, -- of the sequence credential, since it is one
    account BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    client  TEXT   NOT NULL, -- its id; not a row of oauth_client where it is one that comes along
    name    TEXT   NOT NULL, -- what its owner was shown
    send    BIGINT NOT NULL, -- 1: mail may be sent
    reading BIGINT NOT NULL, -- 1: and read
    family  BYTEA  NOT NULL UNIQUE, -- SHA-256 of what its refresh tokens have in common
    refresh BYTEA  NOT NULL, -- SHA-256 of the one that is good
    created BIGINT NOT NULL,
    used    BIGINT NOT NULL, -- when it last got an access token
    ends    BIGINT NOT NULL  -- unless it gets another before
);
CREATE INDEX oauth_grant_account ON oauth_grant (account);
CREATE INDEX oauth_grant_ends ON oauth_grant (ends);

CREATE TABLE oauth_access (
    token    BYTEA  NOT NULL PRIMARY KEY, -- SHA-256
    grant_id BIGINT NOT NULL REFERENCES oauth_grant (id) ON DELETE CASCADE,
    send     BIGINT NOT NULL,
    reading  BIGINT NOT NULL,
    made     BIGINT NOT NULL, -- nanoseconds, to tell which is the oldest
    expires  BIGINT NOT NULL
);
CREATE INDEX oauth_access_grant ON oauth_access (grant_id, made);

-- +goose Down
DROP TABLE oauth_access;
DROP TABLE oauth_grant;
DROP TABLE oauth_client;
