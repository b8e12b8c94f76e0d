// `node bad-client-child.ts UID SOCKET ATTACK`: becomes that user and attacks until its parent ends it or disappears.
import { attack } from './bad-client-attacks.ts';

const [uid, socket = '', name = ''] = process.argv.slice(2);
process.setgroups?.([]);
process.setgid?.(Number(uid));
process.setuid?.(Number(uid));
process.once('disconnect', () => process.exit());
attack(name, socket);
process.send?.('attacking');
