/** What somebody may have meant by a name that nobody knows: the nearest known one, or else the known ones. */
export function hint(field: string, known: readonly string[], introduction: string): string {
  const near = nearest(field, known);
  if (near !== undefined) return `did you mean ${near}?`;
  const more = known.length > MAX_LISTED ? `, and ${known.length - MAX_LISTED} more` : '';
  return `${introduction}: ${known.slice(0, MAX_LISTED).join(', ')}${more}`;
}

const MAX_LISTED = 20;
const MAX_COMPARED = 40;

/** The known name that is at most a third of its letters away, if any. */
function nearest(field: string, known: readonly string[]): string | undefined {
  const plain = (name: string) => name.toLowerCase().replaceAll(/[-_ ]/g, '');
  const scored = known.map((name) => ({
    name,
    distance: editDistance(plain(field.slice(0, MAX_COMPARED)), plain(name)),
  }));
  const best = scored.sort((a, b) => a.distance - b.distance)[0];
  return best !== undefined && best.distance <= Math.max(1, Math.floor(best.name.length / 3)) ? best.name : undefined;
}

/** Letters to add, drop or change (Levenshtein), row by row. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const change = (previous[column - 1] as number) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min((previous[column] as number) + 1, (current[column - 1] as number) + 1, change));
    }
    previous = current;
  }
  return previous.at(-1) as number;
}
