/** Numbers that look random and are the same for the same seed. */
export interface Random {
  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number;
  from<Item>(items: readonly Item[]): Item;
}

/** xorshift32 (Marsaglia, 2003), seeded through one multiplication so that neighbouring seeds differ from the first number on. */
export function random(seed: number): Random {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1;
  const below = (limit: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % limit;
  };
  return { below, from: (items) => items[below(items.length)]! };
}
