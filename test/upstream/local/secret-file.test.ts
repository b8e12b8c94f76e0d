import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { credentialFile, namedFile, withSecretFile } from '../../../src/upstream/local/secret-file.ts';
import { requireRoot } from '../../helpers/require-root.ts';

function makeFile(t: ExecutionContext, mode = 0o600): { directory: string; path: string } {
  const directory = mkdtempSync(join(tmpdir(), 'dekd-secret-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'secret');
  writeFileSync(path, 'content', { mode });
  return { directory, path };
}

/** The environment belongs to the whole test file: serial tests only. */
function withCredentials(t: ExecutionContext, directory: string | undefined): void {
  const before = process.env['CREDENTIALS_DIRECTORY'];
  t.teardown(() => {
    if (before === undefined) delete process.env['CREDENTIALS_DIRECTORY'];
    else process.env['CREDENTIALS_DIRECTORY'] = before;
  });
  if (directory === undefined) delete process.env['CREDENTIALS_DIRECTORY'];
  else process.env['CREDENTIALS_DIRECTORY'] = directory;
}

const contentOf = (descriptor: number): string => {
  const bytes = Buffer.alloc(64);
  return bytes.toString('utf8', 0, readSync(descriptor, bytes));
};

test('a private file is opened, and closed behind its use', (t) => {
  const { path } = makeFile(t);
  let open = -1;
  const read = withSecretFile(namedFile('secret', path, 'make it'), (descriptor, { size }) => {
    open = descriptor;
    return [contentOf(descriptor), size];
  });
  t.deepEqual(read, ['content', 7]);
  t.throws(() => contentOf(open), { code: 'EBADF' });
  const thrown = t.throws(() =>
    withSecretFile(namedFile('secret', path, 'make it'), (descriptor) => {
      open = descriptor;
      throw new Error('in use');
    }),
  );
  t.is(thrown?.message, 'in use');
  t.throws(() => contentOf(open), { code: 'EBADF' });
});

test('what is wrong is told with the way out', (t) => {
  const { directory, path } = makeFile(t);
  const refused = (file: string, message: string | RegExp) => {
    const error = t.throws(() => withSecretFile(namedFile('secret', file, 'make it'), contentOf), {
      name: 'DekdError',
      message,
    });
    t.is((error as unknown as { reason: string }).reason, 'INVALID_REQUEST');
  };
  refused(join(directory, 'absent'), `secret ${directory}/absent: does not exist; make it`);
  refused(directory, `secret ${directory}: is not a regular file; make it`);
  for (const mode of [0o644, 0o604, 0o602, 0o660, 0o620, 0o601]) {
    chmodSync(path, mode);
    refused(
      path,
      `secret ${path}: can be read or written by others (mode 0${mode.toString(8)}); run: chmod 600 ${path}`,
    );
  }
  const pipe = join(directory, 'pipe');
  t.is(spawnSync('mkfifo', ['-m', '600', pipe]).status, 0);
  refused(pipe, /is not a regular file/);
});

test('a file of another user is refused', (t) => {
  if (!requireRoot(t, 'only root can give a file away')) return;
  const { path } = makeFile(t);
  chownSync(path, 4242, 4242);
  t.throws(() => withSecretFile(namedFile('secret', path, 'make it'), contentOf), {
    message: `secret ${path}: belongs to uid 4242, who can read it; run: chown 0 ${path}`,
  });
});

test.serial('a credential is a file in the directory that systemd names', (t) => {
  const { directory } = makeFile(t, 0o400);
  withCredentials(t, directory);
  t.is(withSecretFile(credentialFile('root key', 'secret'), contentOf), 'content');
  t.throws(() => withSecretFile(credentialFile('root key', 'absent'), contentOf), {
    message:
      'root key credential "absent": does not exist; add LoadCredentialEncrypted=absent:FILE to the unit of dekd',
  });
});

test.serial('a credential with an ACL for the service shows as root:0440, one without as the user’s 0400', (t) => {
  if (!requireRoot(t, 'what systemd makes is root’s')) return;
  const { directory, path } = makeFile(t);
  withCredentials(t, directory);
  // exec-credential.c of systemd: fchmod 0400, then an ACL entry for the user, whose mask is what stat shows as the group's bits.
  chmodSync(path, 0o440);
  t.is(withSecretFile(credentialFile('root key', 'secret'), contentOf), 'content');
  chmodSync(path, 0o444);
  t.throws(() => withSecretFile(credentialFile('root key', 'secret'), contentOf), {
    message: `root key credential "secret": can be read or written by others (mode 0444); ${path} is not as systemd makes it; add LoadCredentialEncrypted=secret:FILE to the unit of dekd`,
  });
});

test.serial('a credential must have a name that leads nowhere else', (t) => {
  const { directory } = makeFile(t);
  mkdirSync(join(directory, 'below'));
  symlinkSync('../secret', join(directory, 'below', 'link'));
  withCredentials(t, join(directory, 'below'));
  t.is(withSecretFile(credentialFile('root key', 'link'), contentOf), 'content');
  for (const name of ['', '.', '..', '../secret', 'a/b', 'a:b', 'ä', 'a\n', 'x'.repeat(256)]) {
    t.throws(() => credentialFile('root key', name), { message: /is not the name of a credential/ }, name);
  }
});

test.serial('without systemd a credential is refused with the way to one', (t) => {
  withCredentials(t, undefined);
  t.throws(() => credentialFile('passphrase', 'pass'), {
    message:
      'passphrase credential "pass": CREDENTIALS_DIRECTORY is not set: systemd gave this process no credentials; add LoadCredentialEncrypted=pass:FILE to the unit of dekd',
  });
  withCredentials(t, '');
  t.throws(() => credentialFile('passphrase', 'pass'), { message: /is not set/ });
  withCredentials(t, 'relative');
  t.throws(() => credentialFile('passphrase', 'pass'), { message: /is not an absolute path; systemd sets one/ });
});
