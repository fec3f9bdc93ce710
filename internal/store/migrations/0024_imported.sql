-- Mail that was brought in from files: see import.go of the package mailbox.

-- +goose Up

-- How the lines of a body ended before it was imported (see the package
-- lines); empty: in CR LF.
ALTER TABLE body ADD COLUMN ends BYTEA NOT NULL DEFAULT '';

CREATE TABLE imported (
    account BIGINT NOT NULL,
    same    BYTEA  NOT NULL, -- hash of the folder and the content
    copies  BIGINT NOT NULL, -- that were filed
    run     BIGINT NOT NULL, -- the import that met it last
    met     BIGINT NOT NULL, -- copies that this one met
    PRIMARY KEY (account, same)
);

-- +goose Down
DROP TABLE imported;
ALTER TABLE body DROP COLUMN ends;
