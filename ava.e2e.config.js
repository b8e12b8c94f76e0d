export default {
  extensions: ['ts'],
  files: ['test/e2e/**/*.test.ts', 'test/chaos/**/*.test.ts'],
  workerThreads: false,
  serial: true,
  timeout: '120s',
};
