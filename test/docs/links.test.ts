import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGES = [...globSync('docs/**/*.md', { cwd: ROOT }), ...globSync('*.md', { cwd: ROOT })];

/** As GitHub makes it of a heading. */
function anchors(page: string): Set<string> {
  const headings = page.replaceAll(/^```.*?^```/gms, '').matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/** Where a link of `page` leads, if it does not lead to another site: a file, and perhaps a heading in it. */
function* links(page: string): Generator<readonly [path: string, anchor: string]> {
  const text = readFileSync(join(ROOT, page), 'utf8').replaceAll(/^```.*?^```/gms, '');
  for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    const [path = '', anchor = ''] = target.split('#');
    yield [path === '' ? page : relative(ROOT, join(ROOT, dirname(page), path)), anchor];
  }
}

function isBroken(path: string, anchor: string): boolean {
  if (!existsSync(join(ROOT, path))) return true;
  return anchor !== '' && path.endsWith('.md') && !anchors(readFileSync(join(ROOT, path), 'utf8')).has(anchor);
}

test('every link between the pages leads somewhere, headings too', (t) => {
  t.true(PAGES.length > 8);
  const broken = PAGES.flatMap((page) =>
    [...links(page)]
      .filter(([path, anchor]) => isBroken(path, anchor))
      .map(([path, anchor]) => `${page}: ${path}#${anchor}`),
  );
  t.deepEqual(broken, []);
});
