import { spawnSync } from 'node:child_process';
import test from 'ava';

const needs = {
  'unwrap_vault_transit.py': 'cryptography',
  'unwrap_aws_kms.py': 'boto3 cryptography',
  'unwrap_pkcs11.py': 'PyKCS11 cryptography',
} as const;

for (const [tool, packages] of Object.entries(needs)) {
  test(`tools/${tool} without its packages: one line that says which`, (t) => {
    const script = new URL(`../../tools/${tool}`, import.meta.url).pathname;
    // -S: without the packages that are installed here.
    const { status, stdout, stderr, error } = spawnSync('python3', ['-S', script, 'envelope'], { encoding: 'utf8' });
    if (error !== undefined) {
      t.log('python3 is not installed');
      t.is((error as NodeJS.ErrnoException).code, 'ENOENT');
      return;
    }
    t.is(status, 1);
    t.is(stdout, '');
    const line = new RegExp(
      `^${tool.replace('.', '\\.')}: No module named '\\w+'; it needs: pip install ${packages}\n$`,
    );
    t.regex(stderr, line);
  });
}
