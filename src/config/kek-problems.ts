import type { Config, KeyConfig, UpstreamConfig } from './config.ts';
import type { Path, Problem } from './source.ts';

/**
 * What the type of its upstream finds wrong with the reference of a KEK; undefined for nothing. It is given to this folder, which knows nothing of
 * upstreams (src/upstream/kek-references.ts has it).
 */
export type KekProblem = (kek: string, upstream: UpstreamConfig) => string | undefined;

/** Of every reference in its place. The rules saw to it that each upstream is there and of the KEK's type. */
export function kekProblems({ keys, upstreams }: Config, problemOf: KekProblem): Problem[] {
  const problems = (path: Path, keks: KeyConfig['decryptWith']) =>
    keks.flatMap(({ upstream, kek }, index): Problem[] => {
      const text = problemOf(kek, upstreams.get(upstream)!);
      return text === undefined ? [] : [{ path: [...path, index, 'kek'], text }];
    });
  return [...keys.values()].flatMap(({ name, recipients, decryptWith }) => [
    ...problems(['keys', name, 'recipients'], recipients),
    ...problems(['keys', name, 'decrypt_with'], decryptWith),
  ]);
}
