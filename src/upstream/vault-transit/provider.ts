import { statSync } from 'node:fs';
import type { DekdError } from '../../errors.ts';
import type { ChildCall, ChildProvider, OpenProvider } from '../child/child-provider.ts';
import type { Handover } from '../child/handover.ts';
import { UpstreamFailure } from '../failure.ts';
import type { KekDescription, WrapContext, WrappedDek } from '../provider.ts';
import { followAuthorities } from './authorities.ts';
import { Cluster, type Send } from './cluster.ts';
import { bodyWithDek, takeDek } from './dek-json.ts';
import { describeKey } from './description.ts';
import { failureOf, isPermissionDenied, parseJson } from './errors.ts';
import type { HttpAnswer } from './http.ts';
import { readSecret } from './login/secret-text.ts';
import { NEW_TOKEN_REFUSED, Session } from './login/session.ts';
import { loginFiles, type VaultTransitOptions } from './options.ts';
import { parseVaultKek } from './uri.ts';

/** Byte of the wrap algorithm: the service's own ciphertext, bytes as given (docs/envelope.md). */
const WRAP_ALGORITHM = 1;
const VERSION = /^[1-9][0-9]{0,9}$/;
/** `vault:vN:` and base64 of nonce, 32 bytes and tag: 60 bytes, 72 for XChaCha20. */
const WRAPPED = /^vault:v([1-9][0-9]{0,9}):(?:[A-Za-z0-9+/]{4}){8,64}$/;
const MAX_WRAPPED_BYTES = 300;
const MAX_ANSWER_BYTES = 65_536;
/** Each version of a key adds about 20 bytes. */
const MAX_DESCRIPTION_BYTES = 1 << 20;

/**
 * An encrypt call makes a missing key when the token may create one, unless it asks for a key of a type that cannot encrypt: then it is
 * refused before anything is made (path_encrypt.go). For a key that exists the field means nothing.
 */
const NEVER_CREATE = { type: 'ecdsa-p256' };

interface Opened {
  readonly authorities: () => Buffer | undefined;
  readonly warnings: readonly string[];
  readonly handover: Handover | undefined;
}

interface KekRequest {
  readonly kek: string;
  readonly action: 'encrypt' | 'decrypt' | 'keys';
  readonly body?: Buffer;
  readonly call: ChildCall;
}

/** Throws DekdError for a file that can't be what it should be; one that does not exist yet is a warning, since who writes it may be down too. */
export const open: OpenProvider<VaultTransitOptions> = async (options, _environment, handover) => {
  const warnings = fileWarnings(options);
  const authorities = options.ca === undefined ? () => undefined : followAuthorities(options.ca);
  return new VaultTransitProvider(options, { authorities, warnings, handover });
};

class VaultTransitProvider implements ChildProvider {
  readonly warnings: readonly string[];
  readonly #cluster: Cluster;
  readonly #session: Session;
  #closed = false;

  constructor(options: VaultTransitOptions, { authorities, warnings, handover }: Opened) {
    this.warnings = warnings;
    this.#cluster = new Cluster(options.addresses, { authorities, serverName: options.serverName });
    this.#session = new Session(this.#cluster, options, handover);
    this.#session.start();
  }

  async wrap(kek: string, dek: Uint8Array, context: WrapContext, call: ChildCall): Promise<WrappedDek> {
    const body = bodyWithDek(dek, { associated_data: base64(context.encoded), ...NEVER_CREATE });
    try {
      const answer = await this.#ask({ kek, action: 'encrypt', body, call });
      const { ciphertext } = (parseJson(answer.body)?.['data'] ?? {}) as { ciphertext?: unknown };
      const [text, kekVersion] = typeof ciphertext === 'string' ? (WRAPPED.exec(ciphertext) ?? []) : [];
      if (text === undefined || kekVersion === undefined) throw notVault(answer, `encrypt under ${kek}`);
      return { kekVersion, algorithm: WRAP_ALGORITHM, bytes: Buffer.from(text, 'latin1') };
    } finally {
      body.fill(0);
    }
  }

  async unwrap(kek: string, wrapped: WrappedDek, context: WrapContext, call: ChildCall): Promise<Uint8Array> {
    this.#refuseWhenOver(call);
    const fields = { ciphertext: ciphertextOf(kek, wrapped), associated_data: base64(context.encoded) };
    const answer = await this.#ask({ kek, action: 'decrypt', body: Buffer.from(JSON.stringify(fields)), call });
    try {
      const dek = takeDek(answer.body);
      if (dek !== undefined) return dek;
      // The KEK opened it, in this context: then it wrapped something else than a DEK.
      if (typeof (parseJson(answer.body)?.['data'] as { plaintext?: unknown } | undefined)?.plaintext === 'string') {
        throw new UpstreamFailure('invalid', `what ${kek} wrapped is not a DEK`);
      }
      throw notVault(answer, `decrypt under ${kek}`);
    } finally {
      answer.body.fill(0);
    }
  }

  async describe(kek: string, call: ChildCall): Promise<KekDescription> {
    const answer = await this.#ask({ kek, action: 'keys', call });
    const description = describeKey(kek, parseJson(answer.body)?.['data']);
    if (description === undefined) throw notVault(answer, `description of ${kek}`);
    return description;
  }

  async close(isReplaced = false): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#session.close(isReplaced);
    this.#cluster.close();
  }

  /** The answer of success. */
  async #ask(request: KekRequest): Promise<HttpAnswer> {
    const { call } = request;
    this.#refuseWhenOver(call);
    try {
      const token = await this.#session.token(call.signal, call.fresh);
      return await this.#cluster.attempt(call, (send) => this.#askOne(send, request, token));
    } catch (error) {
      throw UpstreamFailure.from(error);
    }
  }

  async #askOne(send: Send, request: KekRequest, token: string | undefined): Promise<HttpAnswer> {
    const answer = await this.#settled(send, request, token);
    if (answer !== undefined) return answer;
    // The token is dead, and what was logged in for once can be logged in for again.
    const again = await this.#settled(send, request, await this.#session.replacement(token, request.call.signal));
    if (again !== undefined) return again;
    throw new UpstreamFailure('unauthenticated', NEW_TOKEN_REFUSED);
  }

  /** The answer of success, or undefined when the token is dead. Throws UpstreamFailure for any other answer. */
  async #settled(send: Send, request: KekRequest, token: string | undefined): Promise<HttpAnswer | undefined> {
    const { kek, action } = request;
    const answer = await this.#sendOne(send, request, token);
    if (answer.status === 200) return answer;
    const what = `${action === 'keys' ? 'read' : action} of ${kek}`;
    if (!isPermissionDenied(answer)) throw failureOf(action === 'keys' ? 'read' : 'key', answer, what);
    if (!(await this.#session.isAlive(send, token))) return undefined;
    // A token that may update and not create is told the same of a missing key as of one that it may not use.
    if (action === 'encrypt') {
      const key = await this.#sendOne(send, { kek, action: 'keys' }, token);
      if (key.status === 404) throw failureOf('read', key, what);
    }
    throw failureOf('key', answer, what);
  }

  #sendOne(
    send: Send,
    { kek, action, body }: Omit<KekRequest, 'call'>,
    token: string | undefined,
  ): Promise<HttpAnswer> {
    const { mount, name } = parseVaultKek(kek);
    const request = { path: `${mount}/${action}/${name}`, token };
    if (body === undefined) return send({ ...request, method: 'GET', maxBytes: MAX_DESCRIPTION_BYTES });
    return send({ ...request, method: 'POST', body, maxBytes: MAX_ANSWER_BYTES });
  }

  #refuseWhenOver({ signal }: ChildCall): void {
    if (this.#closed) throw new UpstreamFailure('unreachable', 'the upstream was closed');
    if (signal.aborted) throw new UpstreamFailure('unreachable', 'the call was given up before it began');
  }
}

/** Refuses what transit can't have made, so that no such thing reaches it. */
function ciphertextOf(kek: string, { algorithm, kekVersion, bytes }: WrappedDek): string {
  if (algorithm !== WRAP_ALGORITHM || bytes.length > MAX_WRAPPED_BYTES || !VERSION.test(kekVersion)) {
    throw new UpstreamFailure(
      'invalid',
      `a DEK that ${kek} wrapped has algorithm ${WRAP_ALGORITHM}, a version and at most ${MAX_WRAPPED_BYTES} bytes`,
    );
  }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  if (WRAPPED.exec(text)?.[1] !== kekVersion) {
    throw new UpstreamFailure('invalid', `the wrapped DEK is not vault:v${kekVersion}: and base64`);
  }
  return text;
}

function notVault(answer: HttpAnswer, what: string): UpstreamFailure {
  return new UpstreamFailure(
    'unreachable',
    `${what}: HTTP ${answer.status} from ${answer.from}, and not in the form of Vault`,
  );
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
}

function fileWarnings({ login }: VaultTransitOptions): string[] {
  return loginFiles(login).flatMap((file) => {
    try {
      readSecret('credential', file);
    } catch (error) {
      if (((error as DekdError).cause as NodeJS.ErrnoException | undefined)?.code !== 'ENOENT') throw error;
      return [`${file} does not exist yet: no login until it does`];
    }
    // Kubernetes gives every process of a pod its service account token.
    const exposed = login.method !== 'kubernetes' && (statSync(file).mode & 0o004) !== 0;
    return exposed ? [`${file} can be read by every user of this machine; chmod 600`] : [];
  });
}
