-- What is known of a password beside its hash, and the hashes of those before
-- it: see the package account.

-- +goose Up
ALTER TABLE credential ADD COLUMN rating BYTEA NOT NULL DEFAULT ''; -- sealed; empty: never rated, or a device's

CREATE TABLE former_password (
    id      BIGINT NOT NULL PRIMARY KEY,
    account BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    argon2  TEXT   NOT NULL -- PHC string
);
CREATE INDEX former_password_account ON former_password (account);

-- +goose Down
DROP TABLE former_password;
ALTER TABLE credential DROP COLUMN rating;
