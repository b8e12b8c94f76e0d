/**
 * `npm run build`: makes dist/ of src/, a few modules of many, since to find and read each one costs a start more than to run it. Packages stay
 * packages. A program and what it loads later is one build, so each process has one copy of a module. Types are `tsc`'s.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { type Plugin, rolldown } from 'rolldown';

const ROOT = join(import.meta.dirname, '..');
const DIST = join(ROOT, 'dist');
/** The oldest that runs dekd. */
const TARGET = 'node24';

rmSync(DIST, { recursive: true, force: true });
await build('src/cli', ['src/cli/dekd']);
await build('src/cli', ['src/cli/dekctl']);
await build('src/upstream/child', ['src/upstream/child/main', ...childProviders()]);

/** What a child process loads by its place: every upstream's provider but `local`'s, which runs in the agent. */
function childProviders(): string[] {
  const folders = readdirSync(join(ROOT, 'src/upstream')).filter((name) => name !== 'local');
  const modules = folders.map((name) => `src/upstream/${name}/provider`);
  return modules.filter((module) => existsSync(join(ROOT, `${module}.ts`)));
}

/** Entries keep their places; what they share lies in `folder`, which is as deep as theirs. */
async function build(folder: string, entries: readonly string[]): Promise<void> {
  const bundle = await rolldown({
    input: Object.fromEntries(entries.map((entry) => [entry, join(ROOT, `${entry}.ts`)])),
    platform: 'node',
    external: (id) => !/^[./]/.test(id),
    transform: { target: TARGET },
    plugins: [ownPlace(folder)],
  });
  await bundle.write({
    dir: DIST,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: `${folder}/[name]-[hash].js`,
  });
  await bundle.close();
}

/** `import.meta.url` stays the place that a module has in src/, seen from dist/: what lies beside it is found by it. */
function ownPlace(folder: string): Plugin {
  return {
    name: 'own place',
    transform(code, id) {
      if (!code.includes('import.meta.url')) return null;
      const place = relative(join(ROOT, folder), id).replace(/\.ts$/, '.js');
      return code.replaceAll('import.meta.url', `new URL(${JSON.stringify(place)}, import.meta.url).href`);
    },
  };
}
