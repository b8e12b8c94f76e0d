import { closeKeyChannel, receiveKey, type SlotHandle, sendKey } from '../../crypto/native.ts';
import { fromNative } from '../../crypto/native-errors.ts';
import type { DekdError } from '../../errors.ts';
import { UpstreamFailure } from '../failure.ts';
import { ReplyError } from './replies.ts';

/** The agent's end of a key channel: DEKs between their slots and one child. */
export class KeyChannel {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Throws UpstreamFailure when the child takes no key, DekdError for a handle that is no DEK's. */
  send(id: number, dek: SlotHandle): void {
    try {
      sendKey(this.#fd, id, dek);
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ERR_SYSTEM') throw fromNative(error);
      throw new UpstreamFailure('unreachable', `the child process takes no key: ${(error as Error).message}`);
    }
  }

  /** The key of this call. Returns a DekdError for our own shortage of memory; throws ReplyError when the child sent another, or none. */
  receive(id: number): SlotHandle | DekdError {
    try {
      return receiveKey(this.#fd, id, 'dek');
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code === 'ERR_NO_KEY' || code === 'ERR_KEY_PACKET' || code === 'ERR_SYSTEM') {
        throw new ReplyError(`no key of call ${id} on the key channel`);
      }
      return fromNative(error);
    }
  }

  close(): void {
    closeKeyChannel(this.#fd);
  }
}
