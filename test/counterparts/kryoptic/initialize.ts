// Makes a token with a user's PIN, in a process of its own: the library reads KRYOPTIC_CONF of its process, which a worker thread can't set.
// Arguments: the library, the label, the security officer's PIN and the user's.

// Not by its name: types are checked where it could not be compiled, too.
const PACKAGE: string = 'pkcs11js';
const { default: pkcs11js } = await import(PACKAGE);

const [library = '', label = '', officerPin = '', pin = ''] = process.argv.slice(2);
const module = new pkcs11js.PKCS11();
module.load(library);
module.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
const [slot] = module.C_GetSlotList(false);
// CK_TOKEN_INFO has 32 bytes for a label, padded with blanks.
module.C_InitToken(slot, officerPin, label.padEnd(32));
const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
module.C_Login(session, pkcs11js.CKU_SO, officerPin);
module.C_InitPIN(session, pin);
module.C_Logout(session);
module.C_CloseSession(session);
module.C_Finalize();
