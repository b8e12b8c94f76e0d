// What an application does with the one key of a test's agent, `orders`, which some upstream protects.
import type { Agent } from '../helpers/agent-process.ts';

const CONTEXT = { tenant: 'acme' };

/** A request to decrypt it. */
export const opening = (ciphertext: Buffer): object => ({ ciphertext, encryption_context: CONTEXT });

export async function encrypt({ client }: Agent, text: string): Promise<Buffer> {
  const request = { key: 'orders', plaintext: Buffer.from(text), encryption_context: CONTEXT };
  return (await client.call('Encrypt', request)).message.ciphertext;
}

export async function decrypt({ client }: Agent, ciphertext: Buffer): Promise<string> {
  return (await client.call('Decrypt', opening(ciphertext))).message.plaintext.toString();
}
