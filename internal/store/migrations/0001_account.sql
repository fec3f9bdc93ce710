-- People, domains, aliases and credentials: see the package account.
-- Local parts and domains are kept as they are compared: folded, in A-labels.
-- Times are seconds since 1970 in UTC.

-- +goose Up

-- The ids that were given out, by kind.
CREATE TABLE sequence (
    name TEXT   NOT NULL PRIMARY KEY,
    next BIGINT NOT NULL
);

CREATE TABLE domain (
    name    TEXT   NOT NULL PRIMARY KEY,
    created BIGINT NOT NULL
);

CREATE TABLE account (
    id               BIGINT NOT NULL PRIMARY KEY,
    domain           TEXT   NOT NULL REFERENCES domain (name),
    local            TEXT   NOT NULL,
    role             TEXT   NOT NULL, -- admin or user
    quota            BIGINT NOT NULL, -- octets; 0: none; -1: what the configuration says
    send_limit       BIGINT NOT NULL, -- recipients a day; likewise
    frozen           BIGINT NOT NULL, -- 1: may not sign in
    created          BIGINT NOT NULL,
    scram_salt       BYTEA  NOT NULL, -- shared by all its credentials
    scram_iterations BIGINT NOT NULL,
    UNIQUE (domain, local)
);

CREATE TABLE credential (
    id      BIGINT NOT NULL PRIMARY KEY,
    account BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    kind    TEXT   NOT NULL, -- password or device
    name    TEXT   NOT NULL, -- what its owner calls a device
    argon2  TEXT   NOT NULL, -- PHC string; passwords only
    sha256  BYTEA  NOT NULL, -- devices only
    scram   BYTEA  NOT NULL, -- StoredKey and ServerKey, sealed; may be empty for passwords
    created BIGINT NOT NULL,
    used    BIGINT NOT NULL  -- to the hour; 0: never
);
CREATE INDEX credential_account ON credential (account);

-- An empty local part is the catch-all of its domain.
CREATE TABLE alias (
    domain  TEXT   NOT NULL REFERENCES domain (name) ON DELETE CASCADE,
    local   TEXT   NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (domain, local)
);

CREATE TABLE alias_target (
    domain        TEXT   NOT NULL,
    local         TEXT   NOT NULL,
    place         BIGINT NOT NULL, -- in the order in which they were given
    target_domain TEXT   NOT NULL,
    target_local  TEXT   NOT NULL,
    PRIMARY KEY (domain, local, place),
    FOREIGN KEY (domain, local) REFERENCES alias (domain, local) ON DELETE CASCADE
);
CREATE INDEX alias_target_of ON alias_target (target_domain);

-- Recipients that an account has sent to, by day (days since 1970 in UTC).
CREATE TABLE sent (
    account    BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    day        BIGINT NOT NULL,
    recipients BIGINT NOT NULL,
    PRIMARY KEY (account, day)
);

-- +goose Down
DROP TABLE sent;
DROP TABLE alias_target;
DROP TABLE alias;
DROP TABLE credential;
DROP TABLE account;
DROP TABLE domain;
DROP TABLE sequence;
