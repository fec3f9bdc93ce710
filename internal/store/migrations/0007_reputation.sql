-- What others tell of our domains in their reports. Domains are kept as they
-- are compared: folded, in A-labels. Times are seconds since 1970 in UTC.

-- +goose Up

-- Reports that were counted, so that none is twice.
CREATE TABLE report_seen (
    kind     TEXT   NOT NULL, -- dmarc, tls or failure
    sender   TEXT   NOT NULL, -- the domain that sent it
    proven   BIGINT NOT NULL, -- 0 or 1: whether it is shown that it did
    org      TEXT   NOT NULL, -- who reports, in its own words
    id       TEXT   NOT NULL, -- that it gave the report
    domain   TEXT   NOT NULL, -- that it is about
    policy   TEXT   NOT NULL, -- that it found
    ends     BIGINT NOT NULL, -- the time that it is about
    received BIGINT NOT NULL,
    PRIMARY KEY (kind, proven, sender, org, id)
);
CREATE INDEX report_seen_received ON report_seen (received);
CREATE INDEX report_seen_domain ON report_seen (kind, domain, ends);

-- What they said, summed.
CREATE TABLE report_sum (
    kind   TEXT   NOT NULL,
    domain TEXT   NOT NULL, -- ours
    proven BIGINT NOT NULL,
    sender TEXT   NOT NULL,
    day    BIGINT NOT NULL, -- the beginning of the one in which the report's time begins
    detail TEXT   NOT NULL, -- JSON: what was alike
    number BIGINT NOT NULL, -- messages or sessions
    PRIMARY KEY (kind, domain, proven, sender, day, detail)
);
CREATE INDEX report_sum_day ON report_sum (day);

-- Reports of ours that need no more sending, by what they are about and where
-- they went.
CREATE TABLE report_sent (
    day         BIGINT NOT NULL, -- its beginning
    domain      TEXT   NOT NULL, -- that is told
    destination TEXT   NOT NULL, -- a URL; '' when there is nothing more to send to any
    PRIMARY KEY (day, domain, destination)
);

-- +goose Down
DROP TABLE report_sent;
DROP TABLE report_sum;
DROP TABLE report_seen;
