-- What is known of the host's keys: see the package hostkey. Times are seconds
-- since 1970 in UTC; 0: not yet.

-- +goose Up
CREATE TABLE host_key (
    digest TEXT   NOT NULL PRIMARY KEY, -- SHA-256 of the public key (SPKI), in hex
    made   BIGINT NOT NULL,
    used   BIGINT NOT NULL, -- since when certificates are made for it
    due    BIGINT NOT NULL, -- 1: somebody wants it used as soon as it may be
    seen   BIGINT NOT NULL, -- since when the DNS shows it without a break
    looked BIGINT NOT NULL, -- when it was last seen there
    ttl    BIGINT NOT NULL  -- of its records, in seconds; the longest
);

-- +goose Down
DROP TABLE host_key;
