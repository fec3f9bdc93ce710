-- Second factors: see the package account/factor. Times are seconds since
-- 1970 in UTC.

-- +goose Up
CREATE TABLE factor (
    id      BIGINT NOT NULL PRIMARY KEY,
    account BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    kind    TEXT   NOT NULL, -- totp or passkey
    name    TEXT   NOT NULL, -- what its owner calls it
    handle  BYTEA  NOT NULL UNIQUE, -- of a passkey: its credential id; of an app: a hash of its secret
    secret  BYTEA  NOT NULL, -- of an app: sealed; of a passkey: its public key and what else is needed to check it
    site    TEXT   NOT NULL, -- the host name that a passkey was made for
    counter BIGINT NOT NULL, -- of an app: the last step that was accepted; of a passkey: how often it signed, as it says
    drift   BIGINT NOT NULL, -- of an app: by how many steps its clock was off
    created BIGINT NOT NULL,
    used    BIGINT NOT NULL  -- 0: never
);
CREATE INDEX factor_account ON factor (account);

-- What is kept of the recovery codes that nobody used yet.
CREATE TABLE recovery_code (
    account BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    sum     BYTEA  NOT NULL, -- HMAC under a key that is not in the store
    PRIMARY KEY (account, sum)
);

-- +goose Down
DROP TABLE recovery_code;
DROP TABLE factor;
