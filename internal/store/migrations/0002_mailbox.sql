-- Mailboxes: what IMAP (RFC 9051, with CONDSTORE and QRESYNC of RFC 7162)
-- needs to know of folders and messages, and the bodies themselves.

-- +goose Up

-- One row for each account that has received or opened its mailbox. Not a
-- foreign key to account: an account goes in one step, its mail in many.
CREATE TABLE mailbox (
    account     BIGINT NOT NULL PRIMARY KEY,
    used        BIGINT NOT NULL, -- octets of all its messages
    uidvalidity BIGINT NOT NULL  -- the greatest that a folder has had
);

CREATE TABLE folder (
    id          BIGINT NOT NULL PRIMARY KEY,
    account     BIGINT NOT NULL REFERENCES mailbox (account),
    name        TEXT   NOT NULL, -- UTF-8, levels separated by '/'
    role        TEXT   NOT NULL, -- inbox, sent, drafts, junk, trash, archive; '' for none
    subscribed  BIGINT NOT NULL, -- 0 or 1
    uidvalidity BIGINT NOT NULL,
    uidnext     BIGINT NOT NULL,
    modseq      BIGINT NOT NULL, -- HIGHESTMODSEQ
    UNIQUE (account, name)
);

-- The content of a message, shared by its copies.
CREATE TABLE body (
    id      BIGINT NOT NULL PRIMARY KEY, -- the id of the first message that had it
    refs    BIGINT NOT NULL,             -- messages that have it
    size    BIGINT NOT NULL,             -- octets of header and content
    blob    TEXT   NOT NULL,             -- the file with the content; '' when it is here
    header  BYTEA  NOT NULL,             -- fields put in front of the content on delivery
    content BYTEA  NOT NULL              -- as received; empty when it is in a file
);

CREATE UNIQUE INDEX body_blob ON body (blob) WHERE blob <> '';

CREATE TABLE message (
    id       BIGINT NOT NULL PRIMARY KEY,
    folder   BIGINT NOT NULL REFERENCES folder (id),
    uid      BIGINT NOT NULL,
    modseq   BIGINT NOT NULL,
    flags    BIGINT NOT NULL, -- system flags as bits
    keywords TEXT   NOT NULL, -- other flags, separated by spaces
    received BIGINT NOT NULL, -- INTERNALDATE, Unix seconds
    size     BIGINT NOT NULL,
    subject  TEXT   NOT NULL, -- for lists: decoded and cut
    sender   TEXT   NOT NULL,
    sent     BIGINT NOT NULL, -- the Date field, Unix seconds; received when there is none
    body     BIGINT NOT NULL, -- body.id
    spool    BYTEA  NOT NULL, -- the id it had on its way
    UNIQUE (folder, uid)
);

-- UIDs that are gone, for clients that come back (VANISHED).
CREATE TABLE expunged (
    folder BIGINT NOT NULL REFERENCES folder (id),
    modseq BIGINT NOT NULL,
    uid    BIGINT NOT NULL,
    PRIMARY KEY (folder, modseq, uid)
);

-- What has been filed, apart from the messages: a user may expunge one
-- before the queue knows that it arrived.
CREATE TABLE filed (
    spool     BYTEA NOT NULL,
    recipient TEXT  NOT NULL,
    PRIMARY KEY (spool, recipient)
);

-- +goose Down
DROP TABLE filed;
DROP TABLE expunged;
DROP TABLE message;
DROP TABLE body;
DROP TABLE folder;
DROP TABLE mailbox;
