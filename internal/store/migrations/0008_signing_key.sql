-- Keys that domains sign with: see the package signing. Times are seconds
-- since 1970 in UTC; 0: not yet.

-- +goose Up
CREATE TABLE signing_key (
    domain   TEXT   NOT NULL, -- folded, in A-labels
    selector TEXT   NOT NULL,
    name     TEXT   NOT NULL, -- of the private key, which the package keys keeps
    made     BIGINT NOT NULL,
    seen     BIGINT NOT NULL, -- since when the DNS shows it
    retired  BIGINT NOT NULL, -- since when nothing is signed with it
    PRIMARY KEY (domain, selector)
);

-- +goose Down
DROP TABLE signing_key;
