import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from './program.ts';
import type { Tap } from './tap.ts';

/** Stock grpcio against the agent, and the second envelope reader against the vectors. */
export async function pythonChecks(tap: Tap, root: string, socket: string): Promise<void> {
  const python = process.env['DEKD_TEST_PYTHON'] ?? 'python3';
  const folder = join(root, 'test', 'conformance', 'python');
  const remedy = `pip install -r test/conformance/python/requirements.txt, for ${python} (DEKD_TEST_PYTHON)`;
  const has = async (modules: string) => (await runProgram(python, ['-c', `import ${modules}`])).status === 0;

  if (await has('grpc, grpc_tools')) {
    const { status, stdout, stderr } = await runProgram(python, [
      join(folder, 'client.py'),
      socket,
      join(root, 'proto'),
    ]);
    tap.take(stdout);
    if (status !== 0)
      tap.fail('python grpcio: the client runs to its end', `status ${status}: ${stderr.trim().slice(-500)}`);
  } else {
    tap.missing('python grpcio', remedy);
  }

  const vectors = join(root, 'test', 'vectors', 'envelope.json');
  const reader = join(root, 'tools', 'open.py');
  if (!existsSync(vectors) || !existsSync(reader)) {
    tap.fail('the second envelope reader', 'tools/open.py or test/vectors/envelope.json is missing');
  } else if (await has('cryptography')) {
    await tap.check('the second envelope reader opens and refuses every vector', async () => {
      const { status, stdout, stderr } = await runProgram(python, [reader, vectors]);
      if (status !== 0) throw new Error(stdout + stderr);
    });
  } else {
    tap.missing('the second envelope reader', remedy);
  }
}
