-- Reports that we owe other domains. Domains are kept as they are compared:
-- folded, in A-labels. Times are seconds since 1970 in UTC.

-- +goose Up

-- What was seen of mail in the name of domains that want to be told, summed.
CREATE TABLE mail_sum (
    day      BIGINT NOT NULL, -- its beginning
    domain   TEXT   NOT NULL, -- where the policy was found
    detail   TEXT   NOT NULL, -- JSON: the policy, and what was alike; '' for what there was no room to tell of
    messages BIGINT NOT NULL,
    latest   BIGINT NOT NULL, -- when the last of them came
    PRIMARY KEY (day, domain, detail)
);

-- What became of each report, by what it is about and where it goes.
CREATE TABLE report_out (
    kind        TEXT   NOT NULL, -- tls or dmarc
    day         BIGINT NOT NULL, -- its beginning
    domain      TEXT   NOT NULL, -- that is told
    destination TEXT   NOT NULL, -- a URL or an address; '' stands for all of them
    state       TEXT   NOT NULL, -- waiting, queued, taken, failed or done
    reason      TEXT   NOT NULL, -- why it waits or failed; may be empty
    message     TEXT   NOT NULL, -- id of the message that brings it; may be empty
    changed     BIGINT NOT NULL,
    PRIMARY KEY (kind, day, domain, destination)
);
CREATE INDEX report_out_day ON report_out (day);
CREATE INDEX report_out_message ON report_out (message);
INSERT INTO report_out (kind, day, domain, destination, state, reason, message, changed)
    SELECT 'tls', day, domain, destination, CASE WHEN destination = '' THEN 'done' ELSE 'taken' END, '', '', day FROM report_sent;
DROP TABLE report_sent;

-- +goose Down
CREATE TABLE report_sent (
    day         BIGINT NOT NULL,
    domain      TEXT   NOT NULL,
    destination TEXT   NOT NULL,
    PRIMARY KEY (day, domain, destination)
);
DROP TABLE report_out;
DROP TABLE mail_sum;
