-- Hourly prices of single partitions and node pools (ADR 34): JSON by name; null: none has its own.
ALTER TABLE price_sheets ADD COLUMN partitions text;
