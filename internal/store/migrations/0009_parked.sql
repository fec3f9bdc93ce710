-- Domains in which nobody sends or gets mail: see the package account.

-- +goose Up
ALTER TABLE domain ADD COLUMN parked BIGINT NOT NULL DEFAULT 0; -- 1: it is one

-- +goose Down
ALTER TABLE domain DROP COLUMN parked;
