-- Protection of mail on its way out: what domains promised, what they
-- reached, what is to be reported to them, and what each delivery got.
-- Domains are kept as they are compared: folded, in A-labels. Times are
-- seconds since 1970 in UTC.

-- +goose Up

-- MTA-STS policies that were fetched.
CREATE TABLE sts_policy (
    domain  TEXT   NOT NULL PRIMARY KEY,
    id      TEXT   NOT NULL, -- of the record that announced it
    policy  TEXT   NOT NULL, -- as it is served
    fetched BIGINT NOT NULL,
    next    BIGINT NOT NULL, -- when to fetch it anew
    expires BIGINT NOT NULL
);
CREATE INDEX sts_policy_next ON sts_policy (next);

-- The level of TLS that domains reached last.
CREATE TABLE tls_level (
    domain  TEXT   NOT NULL PRIMARY KEY,
    level   TEXT   NOT NULL, -- require or verify
    reached BIGINT NOT NULL
);

-- Sessions by what came of them, for reports.
CREATE TABLE tls_sum (
    day      BIGINT NOT NULL, -- its beginning
    domain   TEXT   NOT NULL, -- the recipients'
    policy   TEXT   NOT NULL, -- JSON, as in the report
    failure  TEXT   NOT NULL, -- likewise, without its count; of no result for successes
    sessions BIGINT NOT NULL,
    PRIMARY KEY (day, domain, policy, failure)
);

-- What connections to other servers were like: one row for all that were
-- alike on a day.
CREATE TABLE hop (
    id           BIGINT NOT NULL PRIMARY KEY,
    since        BIGINT NOT NULL,
    host         TEXT   NOT NULL,
    address      TEXT   NOT NULL,
    version      BIGINT NOT NULL, -- of TLS, as the protocol numbers it; 0: in the clear
    cipher       BIGINT NOT NULL, -- likewise
    key_exchange BIGINT NOT NULL, -- likewise
    chain        BYTEA  NOT NULL, -- SHA-256 of the certificates
    policy       TEXT   NOT NULL,
    met          TEXT   NOT NULL,
    verified     BIGINT NOT NULL, -- 0 or 1
    require_tls  BIGINT NOT NULL  -- 0 or 1
);
CREATE INDEX hop_since ON hop (since);

-- What each delivery got.
CREATE TABLE proof (
    spool      BYTEA  NOT NULL, -- id of the message, which sorts by its age
    recipients TEXT   NOT NULL, -- separated by spaces
    taken      BIGINT NOT NULL, -- when the host took it
    hop        BIGINT NOT NULL, -- hop.id
    PRIMARY KEY (spool, recipients)
);

-- +goose Down
DROP TABLE proof;
DROP TABLE hop;
DROP TABLE tls_sum;
DROP TABLE tls_level;
DROP TABLE sts_policy;
