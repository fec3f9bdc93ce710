-- Mail that went on to another server through an alias: the addresses of ours
-- that its failures come back to, and whom they are then told to. Times are
-- seconds since 1970 in UTC.

-- +goose Up
CREATE TABLE forward (
    token   BYTEA  NOT NULL PRIMARY KEY, -- the name in the address, which a key that is not here completes
    alias   TEXT   NOT NULL, -- that the message was sent to
    sender  TEXT   NOT NULL, -- its reverse-path
    proven  BIGINT NOT NULL, -- 1: it was shown that the sender sent it; 0: nobody is told but postmaster
    expires BIGINT NOT NULL,
    uses    BIGINT NOT NULL  -- messages that may still come back
);
CREATE INDEX forward_expires ON forward (expires);

ALTER TABLE proof ADD COLUMN alias TEXT NOT NULL DEFAULT ''; -- that the recipients got it through

-- +goose Down
ALTER TABLE proof DROP COLUMN alias;
DROP TABLE forward;
