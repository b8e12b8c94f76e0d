import { z } from 'zod';
import { UpstreamFailure } from '../failure.ts';
import type { KekDescription, WrappedDek } from '../provider.ts';
import type { CallReply, FailureMessage, OpenReply } from './messages.ts';
import { scrub } from './scrub.ts';

// What a child says is checked here before anything believes it: it runs a vendor's code.

/** Limits of the dek-block (docs/envelope.md), with room to spare: the block's own check comes later. */
const MAX_WRAPPED_BYTES = 16_384;
const MAX_TEXT_LENGTH = 1_024;
const MAX_WARNINGS = 16;
const MAX_VERSIONS = 1_000;
const MAX_LABELS = 256;
const MAX_RETRY_AFTER_MS = 86_400_000;

const text = z.string().max(MAX_TEXT_LENGTH);
const instant = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const kekState = z.enum(['active', 'disabled', 'archived', 'pending-deletion', 'destroyed']);

const failure = z.strictObject({
  class: z.enum(['unreachable', 'throttled', 'unauthenticated', 'refused', 'invalid']),
  scope: z.enum(['kek', 'version', 'access']).optional(),
  condition: z.enum(['missing', 'disabled', 'archived', 'pending-deletion', 'destroyed']).optional(),
  message: z.string(),
  retryAfterMs: z.number().min(0).max(MAX_RETRY_AFTER_MS).optional(),
});

const openReply = z.union([
  z.strictObject({ ready: z.array(z.string()).max(MAX_WARNINGS) }),
  z.strictObject({ problem: z.string() }),
  z.strictObject({ failure }),
]);

const id = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
const callReply = z.union([z.strictObject({ id, ok: z.unknown() }), z.strictObject({ id, failure })]);

const wrapped = z.strictObject({
  kekVersion: text,
  algorithm: z.number().int().min(0).max(255),
  bytes: z.base64().max(Math.ceil(MAX_WRAPPED_BYTES / 3) * 4),
});

const unwrapped = z.strictObject({});

const description = z.strictObject({
  state: kekState,
  versions: z
    .array(
      z.strictObject({
        version: text,
        state: z.union([kekState, z.literal('decrypt-only')]),
        createdAt: instant,
        destroyedAt: instant.optional(),
        destroyedBy: text.optional(),
      }),
    )
    .max(MAX_VERSIONS),
  labels: z.array(z.tuple([text, text])).max(MAX_LABELS),
  expiresAt: instant.optional(),
  deletion: z
    .strictObject({
      requestedBy: z.array(text).max(MAX_LABELS),
      waitingPeriodMs: instant,
      at: instant.optional(),
    })
    .optional(),
});

/** Something that is JSON and no answer. */
export class ReplyError extends Error {
  override readonly name = 'ReplyError';
}

export function parseOpenReply(message: unknown): OpenReply {
  return parse(openReply, message, 'no answer to open');
}

/** `ok` is not looked at yet: what it must be depends on the call. */
export function parseCallReply(message: unknown): CallReply {
  return parse(callReply, message, 'no answer to a call');
}

export function parseWrapped(ok: unknown): WrappedDek {
  const { kekVersion, algorithm, bytes } = parse(wrapped, ok, 'no answer to wrap');
  return { kekVersion, algorithm, bytes: Buffer.from(bytes, 'base64') };
}

export function parseUnwrapped(ok: unknown): void {
  parse(unwrapped, ok, 'no answer to unwrap');
}

/** Texts of the service are shown to people, so they are scrubbed. */
export function parseDescription(ok: unknown, uri: string): KekDescription {
  const { labels, deletion, ...rest } = parse(description, ok, 'no answer to describe');
  const pairs = labels.map(([name, value]) => [visible(name), visible(value)] as const);
  return {
    ...rest,
    ...(deletion && { deletion: { ...deletion, at: deletion.at } }),
    uri,
    labels: new Map(pairs),
  } as KekDescription;
}

export function failureOf(message: FailureMessage): UpstreamFailure {
  const { scope, condition, retryAfterMs } = message;
  return new UpstreamFailure(message.class, visible(message.message), {
    ...(scope !== undefined && { scope }),
    ...(condition !== undefined && { condition }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  });
}

function visible(value: string): string {
  return scrub(value, MAX_TEXT_LENGTH);
}

/** zod's own message would quote what it read. */
function parse<Schema extends z.ZodType>(schema: Schema, value: unknown, problem: string): z.infer<Schema> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new ReplyError(problem);
  return parsed.data;
}
