import type { SlotHandle } from '../../native/binding.d.ts';
import { type DekBlock, parseDekBlock, sealDekBlock, verifyDekBlock, wrapContext } from '../crypto/dek-block.ts';
import { dekId, freeKey } from '../crypto/native.ts';
import { DekdError } from '../errors.ts';
import { UpstreamFailure } from '../upstream/failure.ts';
import { type CallPurpose, RECIPIENT_TYPES, type WrapContext } from '../upstream/provider.ts';
import type { Counters } from './counters.ts';
import { type DekRecipient, knownRecipients } from './dek.ts';
import type { CallFacts, Kek } from './kek.ts';
import type { KeyOptions } from './options.ts';
import type { Charge } from './quota.ts';

/** A DEK could not be wrapped; says which KEK failed, so that a refusal can be followed up. */
export class WrapFailure extends Error {
  override readonly name = 'WrapFailure';
  readonly kek: Kek;
  readonly failure: UpstreamFailure;

  constructor(kek: Kek, failure: UpstreamFailure) {
    super(failure.message, { cause: failure });
    this.kek = kek;
    this.failure = failure;
  }
}

/** What a DEK's block says beside its recipients. */
export type BlockFacts = Omit<DekBlock, 'recipients'>;

export interface Wrapping {
  readonly options: KeyOptions;
  /** `any`: a recipient that gives no answer is left out, as long as an authority or standby is not. */
  readonly wrap: 'all' | 'any';
  readonly counters: Counters;
  readonly charge: Charge;
  /** Default `miss`. */
  readonly purpose?: CallPurpose;
  /** It confirms a refusal. */
  readonly fresh?: boolean;
  readonly signal: AbortSignal;
}

export interface WrappedDekBlock {
  readonly block: Buffer;
  /** The KEKs that were left out. */
  readonly missing: readonly Kek[];
}

/**
 * Wraps a DEK for its key's recipients, in their order, and with `verifyWrap` has every authority and standby unwrap its copy once: a bad wrap
 * must not be found on failover day. Throws WrapFailure for the first that must not be left out.
 */
export async function wrapDek(dek: SlotHandle, facts: BlockFacts, wrapping: Wrapping): Promise<WrappedDekBlock> {
  const task: Task = { ...wrapping, dek, facts, context: wrapContext(facts.keyName, dekId(dek), facts.partition) };
  const missing = new Map<Kek, UpstreamFailure>();
  const copies: Copy[] = [];
  if (task.wrap === 'all') failWhereBroken(task.options);
  for (const { kek } of task.options.recipients) {
    const recipient = await orMissing(kek, missing, task, () => wrapFor(kek, task));
    if (recipient !== undefined) copies.push({ kek, recipient });
  }
  let block = sealed(copies, missing, task);
  if (verifiesWraps(task.options)) {
    const before = missing.size;
    for (const recipient of knownRecipients(parseDekBlock(block), task.options)) {
      await orMissing(recipient.kek, missing, task, () => verifyCopy(recipient, block, task));
    }
    if (missing.size > before) block = sealed(copies, missing, task);
  }
  return { block, missing: [...missing.keys()] };
}

/** What one of them is known to lack costs no call at the others. */
function failWhereBroken({ recipients }: KeyOptions): void {
  for (const { kek } of recipients) {
    const { broken } = kek;
    if (broken !== undefined) throw new WrapFailure(kek, broken);
  }
}

/** The upstream calls of `wrapDek` for all recipients, by the KEK that each goes to. */
export function wrapCalls(options: KeyOptions): Kek[] {
  const keks = options.recipients.map(({ kek }) => kek);
  const verified = options.recipients.filter(({ role }) => role !== 'recovery').map(({ kek }) => kek);
  return verifiesWraps(options) ? [...keks, ...verified] : keks;
}

interface Task extends Wrapping {
  readonly dek: SlotHandle;
  readonly facts: BlockFacts;
  readonly context: WrapContext;
}

interface Copy {
  readonly kek: Kek;
  readonly recipient: DekBlock['recipients'][number];
}

/** Not where the key has no right to unwrap. */
function verifiesWraps({ cache }: KeyOptions): boolean {
  return cache.verifyWrap && cache.refresh === 'verify';
}

async function wrapFor(kek: Kek, task: Task): Promise<Copy['recipient']> {
  const facts = callFacts(task, () => void task.counters.wraps++);
  const { algorithm, kekVersion, bytes } = await kek.wrap(task.dek, task.context, task.signal, facts);
  const type = RECIPIENT_TYPES[kek.upstream.type];
  return { type, wrapAlgorithm: algorithm, kekUri: kek.uri, kekVersion, wrapped: Buffer.from(bytes) };
}

async function verifyCopy({ kek, wrapped }: DekRecipient, block: Buffer, task: Task): Promise<true> {
  const facts = callFacts(task, () => void task.counters.unwraps++);
  const handle = await kek.unwrap(wrapped, task.context, task.signal, facts);
  try {
    if (verifyDekBlock(handle, dekId(task.dek), block)) return true;
  } finally {
    freeKey(handle);
  }
  throw new UpstreamFailure('invalid', 'the upstream unwrapped another key than it wrapped');
}

function callFacts({ charge, purpose = 'miss', fresh = false }: Task, onAsked: () => void): CallFacts {
  return { purpose, fresh, payer: charge.payer?.uid, onAsked };
}

/** The block with the copies of those that are not missing. Throws the first failure when nobody is left who could be asked to unwrap. */
function sealed(
  copies: readonly Copy[],
  missing: ReadonlyMap<Kek, UpstreamFailure>,
  { facts, dek, options }: Task,
): Buffer {
  const present = copies.filter(({ kek }) => !missing.has(kek));
  const [first] = missing;
  const callable = options.recipients.filter(({ role }) => role !== 'recovery');
  if (first !== undefined && !callable.some(({ kek }) => present.some((copy) => copy.kek === kek))) {
    throw new WrapFailure(...first);
  }
  return sealDekBlock({ ...facts, recipients: present.map(({ recipient }) => recipient) }, dek);
}

/** A call at a KEK; undefined where it gave no answer and may be left out. */
async function orMissing<T>(
  kek: Kek,
  missing: Map<Kek, UpstreamFailure>,
  { wrap, counters, charge }: Task,
  call: () => Promise<T>,
): Promise<T | undefined> {
  if (kek.broken === undefined) charge.spend(kek);
  try {
    return await call();
  } catch (thrown) {
    if (thrown instanceof DekdError) throw thrown;
    const failure = UpstreamFailure.from(thrown);
    counters.upstream_failures++;
    if (wrap === 'all' || failure.class === 'refused' || failure.class === 'invalid') {
      throw new WrapFailure(kek, failure);
    }
    missing.set(kek, failure);
    return undefined;
  }
}
