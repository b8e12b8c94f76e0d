/** `PRAGMA user_version` of a store that this dekd reads and writes. */
export const SCHEMA_VERSION = 2;

/** `PRAGMA application_id`: "dekd" in ASCII. */
export const APPLICATION_ID = 0x64656b64;

// Compared word for word with sqlite_schema when a store is opened: a trigger or a lost CHECK is found. Any change is a new SCHEMA_VERSION.
const STORE = `CREATE TABLE store (
  id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  store_id TEXT NOT NULL CHECK (length(store_id) = 16),
  root_key_id BLOB NOT NULL CHECK (length(root_key_id) = 32),
  root_key_kdf TEXT NOT NULL CHECK (root_key_kdf IN ('raw', 'scrypt')),
  root_key_params BLOB CHECK ((root_key_params IS NULL) = (root_key_kdf = 'raw')),
  created_at INTEGER NOT NULL,
  manifest TEXT NOT NULL,
  mac BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT`;

const KEK = `CREATE TABLE kek (
  name TEXT NOT NULL PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('active', 'disabled', 'archived', 'pending-deletion', 'destroyed')),
  state_before TEXT CHECK (state_before IN ('active', 'archived')),
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  changed_by TEXT NOT NULL,
  labels TEXT NOT NULL,
  deletion_by TEXT,
  deletion_waiting_ms INTEGER,
  deletion_requested_at INTEGER,
  deletion_at INTEGER,
  mac BLOB NOT NULL CHECK (length(mac) = 32),
  CHECK ((state_before IS NOT NULL) = (state IN ('disabled', 'pending-deletion'))),
  CHECK ((deletion_by IS NULL) = (deletion_waiting_ms IS NULL) AND (deletion_by IS NULL) = (deletion_requested_at IS NULL)),
  CHECK ((deletion_at IS NOT NULL) = (state = 'pending-deletion')),
  CHECK (deletion_by IS NOT NULL OR deletion_at IS NULL),
  CHECK (deletion_by IS NULL OR state != 'destroyed')
) STRICT, WITHOUT ROWID`;

const KEK_VERSION = `CREATE TABLE kek_version (
  kek TEXT NOT NULL REFERENCES kek (name),
  version INTEGER NOT NULL CHECK (version > 0),
  state TEXT NOT NULL CHECK (state IN ('active', 'decrypt-only', 'disabled', 'archived', 'pending-deletion', 'destroyed')),
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  changed_at INTEGER NOT NULL,
  changed_by TEXT NOT NULL,
  wrapped_key BLOB CHECK (length(wrapped_key) = 72),
  mac BLOB NOT NULL CHECK (length(mac) = 32),
  PRIMARY KEY (kek, version),
  CHECK ((wrapped_key IS NULL) = (state = 'destroyed'))
) STRICT, WITHOUT ROWID`;

const ONE_ACTIVE_VERSION = `CREATE UNIQUE INDEX one_active_version ON kek_version (kek) WHERE state = 'active'`;

const DISABLED_PARTITION = `CREATE TABLE disabled_partition (
  kek TEXT NOT NULL REFERENCES kek (name),
  key_name TEXT NOT NULL,
  pairs TEXT NOT NULL,
  disabled_at INTEGER NOT NULL,
  disabled_by TEXT NOT NULL,
  mac BLOB NOT NULL CHECK (length(mac) = 32),
  PRIMARY KEY (kek, key_name, pairs)
) STRICT, WITHOUT ROWID`;

export const SCHEMA: readonly string[] = [STORE, KEK, KEK_VERSION, ONE_ACTIVE_VERSION, DISABLED_PARTITION];
