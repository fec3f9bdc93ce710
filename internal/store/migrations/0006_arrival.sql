-- How messages came to us, by their own names: a Message-ID finds our id.
-- Times are seconds since 1970 in UTC.

-- +goose Up
CREATE TABLE arrival (
    spool        BYTEA  NOT NULL PRIMARY KEY, -- id of the message, which sorts by its age
    message_id   BIGINT NOT NULL, -- the first 64 bits of the SHA-256 of the Message-ID
    came         BIGINT NOT NULL,
    name         TEXT   NOT NULL, -- the account that signed in, else what the client called itself
    client       TEXT   NOT NULL, -- its address
    signed_in    BIGINT NOT NULL, -- 0 or 1
    version      BIGINT NOT NULL, -- of TLS, as the protocol numbers it; 0: in the clear
    cipher       BIGINT NOT NULL, -- likewise
    key_exchange BIGINT NOT NULL, -- likewise
    require_tls  BIGINT NOT NULL  -- 0 or 1
);
CREATE INDEX arrival_message_id ON arrival (message_id);

-- +goose Down
DROP TABLE arrival;
