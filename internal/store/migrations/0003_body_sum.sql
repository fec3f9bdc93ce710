-- Checksums of mailbox bodies, so that decay can be told from what was filed.

-- +goose Up

-- CRC32C (Castagnoli) of the content and then the header, whatever the order
-- in which they are read; -1: filed before there were any.
ALTER TABLE body ADD COLUMN sum BIGINT NOT NULL DEFAULT -1;

-- +goose Down
ALTER TABLE body DROP COLUMN sum;
