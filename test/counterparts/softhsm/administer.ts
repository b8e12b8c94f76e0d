// What a security officer does, in a process of its own: a PKCS#11 library reads the environment of its process, which a worker thread can't set.
// Arguments: the library, and JSON {token, pin, commands}.
import type { Command } from './start.ts';

// Not by its name: types are checked where it could not be compiled, too.
const PACKAGE: string = 'pkcs11js';
const { default: pkcs11js } = await import(PACKAGE);

const [library = '', json = ''] = process.argv.slice(2);
const { token, pin, commands } = JSON.parse(json) as { token: string; pin: string; commands: Command[] };
const module = new pkcs11js.PKCS11();
module.load(library);
module.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
const slot = module.C_GetSlotList(true).find((slot: Buffer) => module.C_GetTokenInfo(slot).label.trim() === token);
if (slot === undefined) throw new Error(`no token ${token}`);
const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
module.C_Login(session, pkcs11js.CKU_USER, pin);
for (const command of commands) obey(command);
module.C_Finalize();

function obey(command: Command): void {
  switch (command.do) {
    case 'generate':
      generate(command);
      break;
    case 'import':
      module.C_CreateObject(session, [
        { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
        { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_AES },
        { type: pkcs11js.CKA_TOKEN, value: true },
        { type: pkcs11js.CKA_LABEL, value: command.label },
        { type: pkcs11js.CKA_VALUE, value: Buffer.from(command.value, 'hex') },
        ...uses(command.allows, 'ENCRYPT', 'DECRYPT', 'WRAP', 'UNWRAP'),
      ]);
      break;
    case 'change':
      for (const object of find(command.label)) {
        module.C_SetAttributeValue(session, object, [{ type: attribute(command.attribute), value: command.value }]);
      }
      break;
    case 'destroy':
      for (const object of find(command.label)) module.C_DestroyObject(session, object);
      break;
  }
}

function generate({ label, id, kind, allows }: Command & { do: 'generate' }): void {
  const common = [
    { type: pkcs11js.CKA_TOKEN, value: true },
    { type: pkcs11js.CKA_LABEL, value: label },
    { type: pkcs11js.CKA_ID, value: Buffer.from(id ?? '01', 'hex') },
  ];
  const secret = [
    ...common,
    { type: pkcs11js.CKA_PRIVATE, value: true },
    { type: pkcs11js.CKA_SENSITIVE, value: true },
    { type: pkcs11js.CKA_EXTRACTABLE, value: false },
  ];
  if (kind === 'rsa') {
    const shared = [...common, { type: pkcs11js.CKA_MODULUS_BITS, value: 2048 }, ...uses(allows, 'ENCRYPT', 'WRAP')];
    const own = [...secret, ...uses(allows, 'DECRYPT', 'UNWRAP')];
    module.C_GenerateKeyPair(session, { mechanism: pkcs11js.CKM_RSA_PKCS_KEY_PAIR_GEN }, shared, own);
    return;
  }
  const size = { type: pkcs11js.CKA_VALUE_LEN, value: 32 };
  const template = [...secret, size, ...uses(allows, 'ENCRYPT', 'DECRYPT', 'WRAP', 'UNWRAP')];
  module.C_GenerateKey(session, { mechanism: pkcs11js.CKM_AES_KEY_GEN }, template);
}

function uses(allows: readonly string[], ...names: string[]): { type: number; value: boolean }[] {
  return names.map((name) => ({ type: attribute(name), value: allows.includes(name) }));
}

function attribute(name: string): number {
  return (pkcs11js as unknown as Record<string, number>)[`CKA_${name}`]!;
}

function find(label: string): Buffer[] {
  module.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_LABEL, value: label }]);
  const found = module.C_FindObjects(session, 10);
  module.C_FindObjectsFinal(session);
  return found;
}
