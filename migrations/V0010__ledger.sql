-- Projects are made by administrators from now on; those that are in use exist already.
ALTER TABLE projects ADD COLUMN description text NOT NULL DEFAULT '', ADD COLUMN archived_ms bigint;
INSERT INTO organisations (name, created_ms) VALUES ('default', 0) ON CONFLICT DO NOTHING;
INSERT INTO projects (name, organisation, created_ms)
SELECT name, 'default', 0 FROM (
  SELECT 'default' AS name UNION SELECT project FROM workflows UNION SELECT project FROM datasets
  UNION SELECT project FROM tokens WHERE project IS NOT NULL UNION SELECT project FROM clusters WHERE project IS NOT NULL
) AS known ON CONFLICT DO NOTHING;

-- Money is counted in millionths of a currency's unit. The older column counts hundredths, rounded up.
ALTER TABLE runs ADD COLUMN charge_micros bigint;

-- The current period of each project's budget.
CREATE TABLE budgets (
  project text PRIMARY KEY,
  currency text NOT NULL,
  limit_micros bigint NOT NULL,
  period text NOT NULL,
  is_hard boolean NOT NULL,
  alerts text NOT NULL,
  on_exhausted text NOT NULL,
  carries_over boolean NOT NULL,
  default_walltime_ms bigint NOT NULL,
  period_start_ms bigint NOT NULL,
  period_end_ms bigint,
  granted bigint NOT NULL,
  reserved bigint NOT NULL CHECK (reserved >= 0),
  spent bigint NOT NULL CHECK (spent >= 0),
  alerted int NOT NULL,
  -- Invariant I3, whatever the writer believes.
  CONSTRAINT budgets_hold CHECK (NOT is_hard OR reserved + spent <= granted)
) WITH (fillfactor = 50);

-- Of runs that are not over.
CREATE TABLE reservations (
  run_id bigint PRIMARY KEY,
  project text NOT NULL,
  currency text NOT NULL,
  amount bigint NOT NULL CHECK (amount >= 0),
  bound_ms bigint NOT NULL
);

-- Double entry: what leaves one account comes to another. Accounts are named kind/owner/currency.
CREATE TABLE ledger_entries (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms bigint NOT NULL,
  kind text NOT NULL,
  from_account text NOT NULL,
  to_account text NOT NULL,
  amount bigint NOT NULL CHECK (amount > 0),
  run_id bigint,
  actor text NOT NULL,
  CHECK (from_account <> to_account)
);
CREATE INDEX ledger_entries_from ON ledger_entries (from_account, seq);
CREATE INDEX ledger_entries_to ON ledger_entries (to_account, seq);
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON ledger_entries
  FOR EACH ROW EXECUTE FUNCTION fubini_append_only();
CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger_entries
  FOR EACH STATEMENT EXECUTE FUNCTION fubini_append_only();

-- The sum of the entries of each account, kept by the database itself, so that a writer's mistake shows.
CREATE TABLE ledger_balances (
  account text PRIMARY KEY,
  balance bigint NOT NULL
) WITH (fillfactor = 50);
CREATE FUNCTION fubini_post() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO ledger_balances (account, balance)
  SELECT account, sum(amount) FROM (
    SELECT to_account AS account, amount FROM fresh UNION ALL SELECT from_account, -amount FROM fresh
  ) AS sides GROUP BY account ORDER BY account
  ON CONFLICT (account) DO UPDATE SET balance = ledger_balances.balance + excluded.balance;
  RETURN NULL;
END $$;
CREATE TRIGGER ledger_post AFTER INSERT ON ledger_entries REFERENCING NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION fubini_post();

-- What every budget says of itself against what its entries say: one row for each that differs.
CREATE VIEW ledger_differences AS
SELECT project, side, image, coalesce(balance, 0) AS balance FROM (
  SELECT project, 'available' AS side, currency, granted - reserved - spent AS image FROM budgets
  UNION ALL SELECT project, 'reserved', currency, reserved FROM budgets
  UNION ALL SELECT project, 'spent', currency, spent FROM budgets
) AS images LEFT JOIN ledger_balances ON account = side || '/' || project || '/' || currency
WHERE image <> coalesce(balance, 0);

-- The end of every unit that moves money: it does not commit unless budgets, entries and reservations agree.
CREATE FUNCTION fubini_balance(projects text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  wrong record;
BEGIN
  SELECT * INTO wrong FROM ledger_differences WHERE project = ANY (projects) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'project %: % is %, its entries say %', wrong.project, wrong.side, wrong.image, wrong.balance
      USING ERRCODE = 'FB004';
  END IF;
  RETURN coalesce(array_length(projects, 1), 0);
END $$;
