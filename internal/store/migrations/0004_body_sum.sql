-- Checksums of mailbox bodies, so that decay can be told from what was filed.

-- +goose Up

-- CRC32C (Castagnoli); -1: filed before there were any.
ALTER TABLE body ADD COLUMN header_sum BIGINT NOT NULL DEFAULT -1;
ALTER TABLE body ADD COLUMN content_sum BIGINT NOT NULL DEFAULT -1;

-- +goose Down
ALTER TABLE body DROP COLUMN content_sum;
ALTER TABLE body DROP COLUMN header_sum;
