const ALL = ['test/e2e/**/*.test.ts', 'test/chaos/**/*.test.ts'];
/** These measure time under load. */
const ALONE = 'test/chaos/{bad-clients,outage}.test.ts';
/** They begin, so that the other files fit beside them. */
const LONGEST = ['keystore-kill', 'memory-scan', 'administration', 'bad-starts', 'revocation', 'stray-refusals'];

/**
 * The two parts of `npm run test:e2e`, by DEKD_E2E. Most tests wait for processes that they start, so two files run at a time; the tests of each keep
 * their order (test/helpers/serial.ts). Without the variable, files that are named run one after the other.
 */
const PARTS = {
  beside: { files: [...ALL, `!${ALONE}`], concurrency: 2, sortTestFiles: (a, b) => rank(a) - rank(b) },
  alone: { files: [ALONE], serial: true },
};

function rank(file) {
  const at = LONGEST.findIndex((name) => file.endsWith(`/${name}.test.ts`));
  return at < 0 ? LONGEST.length : at;
}

export default {
  extensions: ['ts'],
  ...(PARTS[process.env.DEKD_E2E] ?? { files: ALL, serial: true }),
  workerThreads: false,
  timeout: '120s',
};
