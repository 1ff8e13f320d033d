-- Which CA signed a certificate, and which CAs its agent was told to trust with it (SHA-256 of each, separated by blanks):
-- while the CA is being replaced, these say whether a cluster can follow. NULL: issued by a release that did not note it.
ALTER TABLE certificates ADD COLUMN authority text;
ALTER TABLE certificates ADD COLUMN trusts text;
-- To the millisecond, where the certificate itself knows whole seconds.
ALTER TABLE certificates ADD COLUMN recorded_ms bigint;
