-- What we promise of our own transport: MTA-STS of each domain, and
-- certificates from ACME. Times are seconds since 1970 in UTC.

-- +goose Up

-- testing, enforce or none, and since when.
ALTER TABLE domain ADD COLUMN sts_mode TEXT NOT NULL DEFAULT 'testing';
ALTER TABLE domain ADD COLUMN sts_since BIGINT NOT NULL DEFAULT 0;

-- What ACME needs to remember: accounts, certificates, keys, each by its
-- path; see the package keys/acme.
CREATE TABLE acme (
    path     TEXT   NOT NULL PRIMARY KEY,
    content  BYTEA  NOT NULL, -- sealed
    modified BIGINT NOT NULL
);

-- +goose Down
DROP TABLE acme;
ALTER TABLE domain DROP COLUMN sts_since;
ALTER TABLE domain DROP COLUMN sts_mode;
