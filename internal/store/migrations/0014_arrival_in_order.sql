-- Arrivals are written at the end of their table only: an index by Message-ID
-- had a page to change at random for each message, and served one command.

-- +goose Up
DROP INDEX arrival_message_id;

-- +goose Down
CREATE INDEX arrival_message_id ON arrival (message_id);
