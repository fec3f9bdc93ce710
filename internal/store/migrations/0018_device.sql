-- What the credentials of devices are good for, and who issues the
-- certificates that are credentials: see the package account.
-- Times are seconds since 1970 in UTC.

-- +goose Up
ALTER TABLE credential ADD COLUMN scope TEXT NOT NULL DEFAULT 'both'; -- send, read or both
ALTER TABLE credential ADD COLUMN expires BIGINT NOT NULL DEFAULT 0; -- 0: never
ALTER TABLE credential ADD COLUMN networks TEXT NOT NULL DEFAULT ''; -- from which alone it works, with spaces between; '': from anywhere

-- Those who issued certificates to our users. The last one issues.
CREATE TABLE authority (
    id          BIGINT NOT NULL PRIMARY KEY,
    key_name    TEXT   NOT NULL, -- of its private key, in the directory keys
    certificate BYTEA  NOT NULL  -- DER
);

-- +goose Down
DROP TABLE authority;
ALTER TABLE credential DROP COLUMN networks;
ALTER TABLE credential DROP COLUMN expires;
ALTER TABLE credential DROP COLUMN scope;
