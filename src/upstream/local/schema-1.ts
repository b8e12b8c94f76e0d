// The tables of schema 1, as dekd wrote them before it knew the whole lifecycle of a KEK. Such a store is migrated when it is opened.

const STORE = `CREATE TABLE store (
  id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  store_id TEXT NOT NULL CHECK (length(store_id) = 16),
  root_key_id BLOB NOT NULL CHECK (length(root_key_id) = 32),
  created_at INTEGER NOT NULL,
  manifest TEXT NOT NULL,
  mac BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT`;

const KEK = `CREATE TABLE kek (
  name TEXT NOT NULL PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('active', 'disabled', 'archived', 'pending-deletion', 'destroyed')),
  created_at INTEGER NOT NULL,
  labels TEXT NOT NULL,
  mac BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT, WITHOUT ROWID`;

const KEK_VERSION = `CREATE TABLE kek_version (
  kek TEXT NOT NULL REFERENCES kek (name),
  version INTEGER NOT NULL CHECK (version > 0),
  state TEXT NOT NULL CHECK (state IN ('active', 'decrypt-only', 'disabled', 'archived', 'pending-deletion', 'destroyed')),
  created_at INTEGER NOT NULL,
  wrapped_key BLOB CHECK (length(wrapped_key) = 72),
  mac BLOB NOT NULL CHECK (length(mac) = 32),
  PRIMARY KEY (kek, version),
  CHECK ((wrapped_key IS NULL) = (state = 'destroyed'))
) STRICT, WITHOUT ROWID`;

const ONE_ACTIVE_VERSION = `CREATE UNIQUE INDEX one_active_version ON kek_version (kek) WHERE state = 'active'`;

export const SCHEMA_1: readonly string[] = [STORE, KEK, KEK_VERSION, ONE_ACTIVE_VERSION];
