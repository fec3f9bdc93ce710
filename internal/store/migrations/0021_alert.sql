-- Who gave a command, links that freeze an account, and what receivers of
-- webhooks are still to be told: see the packages activity, lock and hook.
-- Times are seconds since 1970 in UTC.

-- +goose Up
ALTER TABLE activity ADD COLUMN operator TEXT NOT NULL DEFAULT ''; -- as the machine knows them

CREATE TABLE lock_link (
    token   BYTEA  NOT NULL PRIMARY KEY, -- SHA-256 of what is in the link
    owner   BIGINT NOT NULL, -- the account's id
    expires BIGINT NOT NULL,
    used    BIGINT NOT NULL  -- when it froze the account; 0: never
);
CREATE INDEX lock_link_expires ON lock_link (expires);

CREATE TABLE hook (
    id       BIGINT NOT NULL PRIMARY KEY, -- in the order of what happened
    sink     TEXT   NOT NULL, -- which receiver: 'alerts'
    name     TEXT   NOT NULL, -- by which the receiver knows it again
    kind     TEXT   NOT NULL,
    body     BYTEA  NOT NULL, -- JSON, as it is posted
    made     BIGINT NOT NULL,
    attempts BIGINT NOT NULL, -- that were refused for its own sake
    due      BIGINT NOT NULL, -- when it is tried again after these
    fault    TEXT   NOT NULL  -- why the last attempt failed
);
CREATE INDEX hook_sink ON hook (sink, id);

-- +goose Down
DROP TABLE hook;
DROP TABLE lock_link;
ALTER TABLE activity DROP COLUMN operator;
