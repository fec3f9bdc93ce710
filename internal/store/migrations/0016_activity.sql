-- Who signed in, who tried to, and what was changed: see the package activity.
-- Times are seconds since 1970 in UTC. Rows outlive the account they are of.

-- +goose Up
CREATE TABLE activity (
    id           BIGINT NOT NULL PRIMARY KEY,
    hour         BIGINT NOT NULL, -- in which it happened, since 1970
    owner        BIGINT NOT NULL, -- the account's id; 0: nobody's
    same         BYTEA  NOT NULL, -- what is alike in an hour is one row
    kind         TEXT   NOT NULL,
    outcome      TEXT   NOT NULL, -- done, refused or later
    account      TEXT   NOT NULL, -- its address at that time; '' for nobody's
    address      TEXT   NOT NULL, -- of the client, or its network; '' where there is none
    country      TEXT   NOT NULL, -- two letters; '' where it is not known
    network      TEXT   NOT NULL, -- who announces the address, likewise
    protocol     TEXT   NOT NULL, -- smtp or command
    client       TEXT   NOT NULL, -- what it called itself
    mechanism    TEXT   NOT NULL, -- of SASL
    credential   TEXT   NOT NULL, -- that was used
    version      BIGINT NOT NULL, -- of TLS; 0: in the clear
    cipher       BIGINT NOT NULL,
    key_exchange BIGINT NOT NULL,
    detail       TEXT   NOT NULL,
    began        BIGINT NOT NULL, -- the first time
    ended        BIGINT NOT NULL, -- the last time
    times        BIGINT NOT NULL,
    UNIQUE (hour, owner, same)
);
CREATE INDEX activity_ended ON activity (ended);
CREATE INDEX activity_account ON activity (account, ended);

-- What is usual for an account: countries, networks, devices.
CREATE TABLE activity_known (
    owner BIGINT NOT NULL, -- the account's id
    sort  TEXT   NOT NULL,
    name  TEXT   NOT NULL,
    seen  BIGINT NOT NULL, -- the last time
    PRIMARY KEY (owner, sort, name)
);

-- What the owner of an account is told.
CREATE TABLE activity_alert (
    id     BIGINT NOT NULL PRIMARY KEY,
    owner  BIGINT NOT NULL, -- the account's id
    kind   TEXT   NOT NULL,
    event  BIGINT NOT NULL, -- what happened
    detail TEXT   NOT NULL, -- what is not usual about it
    also   TEXT   NOT NULL, -- other addresses that are told, one on a line
    last   BIGINT NOT NULL, -- 1: no more of its sort are sent for a day
    made   BIGINT NOT NULL,
    sent   BIGINT NOT NULL  -- when it was sent; 0: not yet
);
CREATE INDEX activity_alert_owner ON activity_alert (owner, kind, made);
CREATE INDEX activity_alert_sent ON activity_alert (sent);

-- Where alerts of an account go beside its own mailbox.
CREATE TABLE recovery (
    account BIGINT NOT NULL PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    address TEXT   NOT NULL
);

-- +goose Down
DROP TABLE recovery;
DROP TABLE activity_alert;
DROP TABLE activity_known;
DROP TABLE activity;
