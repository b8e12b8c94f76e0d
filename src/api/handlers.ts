import { backupKeystore } from './admin-backup.ts';
import { adminDescribeKey } from './admin-describe-key.ts';
import { archiveKey, cancelKeyDeletion, disableKey, enableKey, scheduleKeyDeletion } from './admin-key-states.ts';
import { disablePartition, enablePartition, flushKeyring, warmKeyring } from './admin-keyring.ts';
import { createKey, listKeys, rotateKey } from './admin-keys.ts';
import { agentStatus } from './agent-status.ts';
import type { Call } from './call.ts';
import { decrypt } from './decrypt.ts';
import { decryptBatch } from './decrypt-batch.ts';
import { describeKey } from './describe-key.ts';
import { encrypt } from './encrypt.ts';
import { encryptBatch } from './encrypt-batch.ts';
import { generateDataKey } from './generate-data-key.ts';
import type { Parts } from './parts.ts';
import { reEncrypt } from './re-encrypt.ts';
import { rewrap } from './rewrap.ts';
import { startDrill } from './start-drill.ts';
import { stopDrill } from './stop-drill.ts';

// biome-ignore lint/suspicious/noExplicitAny: what proto-loader decodes; each handler states its own type
type Handlers = Readonly<Record<string, (request: any, call: Call) => unknown>>;

/** Service dekd.v1.KeyAgent, for the agent socket. */
export function agentHandlers(parts: Parts): Handlers {
  return {
    Encrypt: (request, call) => encrypt(request, call, parts),
    Decrypt: (request, call) => decrypt(request, call, parts),
    GenerateDataKey: (request, call) => generateDataKey('GenerateDataKey', request, call, parts),
    GenerateDataKeyWithoutPlaintext: (request, call) =>
      generateDataKey('GenerateDataKeyWithoutPlaintext', request, call, parts),
    ReEncrypt: (request, call) => reEncrypt(request, call, parts),
    Rewrap: (request, call) => rewrap(request, call, parts),
    EncryptBatch: (request, call) => encryptBatch(request, call, parts),
    DecryptBatch: (request, call) => decryptBatch(request, call, parts),
    DescribeKey: (request, call) => describeKey(request, call, parts),
  };
}

/** Service dekd.v1.KeyAdmin, for the admin socket. */
export function adminHandlers(parts: Parts): Handlers {
  return {
    CreateKey: (request, call) => createKey(request, call, parts),
    ListKeys: (request, call) => listKeys(request, call, parts),
    DescribeKey: (request, call) => adminDescribeKey(request, call, parts),
    RotateKey: (request, call) => rotateKey(request, call, parts),
    DisableKey: (request, call) => disableKey(request, call, parts),
    EnableKey: (request, call) => enableKey(request, call, parts),
    ArchiveKey: (request, call) => archiveKey(request, call, parts),
    ScheduleKeyDeletion: (request, call) => scheduleKeyDeletion(request, call, parts),
    CancelKeyDeletion: (request, call) => cancelKeyDeletion(request, call, parts),
    DisablePartition: (request, call) => disablePartition(request, call, parts),
    EnablePartition: (request, call) => enablePartition(request, call, parts),
    FlushKeyring: (request, call) => flushKeyring(request, call, parts),
    WarmKeyring: (request, call) => warmKeyring(request, call, parts),
    BackupKeystore: (request, call) => backupKeystore(request, call, parts),
    GetStatus: (request, call) => agentStatus(request, call, parts),
    StartDrill: (request, call) => startDrill(request, call, parts),
    StopDrill: (request, call) => stopDrill(request, call, parts),
  };
}
