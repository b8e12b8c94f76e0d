import type { Profile } from '../config/config.ts';
import { EXIT } from './exit-codes.ts';
import { CliError } from './messages.ts';

const OLDEST_NODE = 24;

/** Ways of Node to open or write out the memory of this process, or to run others' code in it, by the start of their names. */
const REVEALING = [
  '--inspect',
  '--debug',
  '--heapsnapshot',
  '--heap-prof',
  '--cpu-prof',
  '--prof',
  '--report',
  '--diagnostic-dir',
  '--abort-on-uncaught-exception',
  '--experimental-report',
  '-r',
  '--require',
  '--import',
  '--loader',
  '--experimental-loader',
  '--experimental-config-file',
  '--experimental-default-config-file',
  '--openssl-config',
  '--openssl-shared-config',
];

/** The same by environment variables. NODE_COMPILE_CACHE runs whatever compiled code lies there; OPENSSL_CONF loads providers. */
const REVEALING_VARIABLES = ['NODE_OPTIONS', 'NODE_PATH', 'NODE_COMPILE_CACHE', 'OPENSSL_CONF', 'OPENSSL_MODULES'];

/** Refuses a Node that gets no fixes any more: what dekd guards must not stand on it. */
export function checkNodeVersion(version = process.versions.node): void {
  if (Number.parseInt(version, 10) >= OLDEST_NODE) return;
  const text = `Node ${version} is too old: dekd needs Node ${OLDEST_NODE} or newer; run it with \`npm start\` or bin/dekd, which bring their own, or install Node 26`;
  throw new CliError(EXIT.failure, text);
}

/** What in this process's start would let others read its memory, in words; empty when there is nothing. */
export function revealingSwitches(switches: readonly string[], environment: NodeJS.ProcessEnv): string[] {
  const found = switches.filter((name) => {
    // Node takes `_` for `-`.
    const spelled = name.replaceAll('_', '-');
    return REVEALING.some((start) => spelled.startsWith(start));
  });
  const set = REVEALING_VARIABLES.filter((name) => (environment[name] ?? '').trim() !== '');
  return [
    ...found.map((name) => `Node's switch ${name.split('=')[0]}`),
    ...set.map((name) => `the environment variable ${name}`),
  ];
}

/** Refuses such a start in production. Elsewhere it returns the warnings. */
export function checkSwitches(
  profile: Profile,
  switches: readonly string[] = process.execArgv,
  environment = process.env,
): string[] {
  if (profile === 'production') {
    const found = revealingSwitches(switches, environment);
    if (found.length === 0) return [];
    const text = `${found.join(' and ')} may open this process's memory to others; start dekd without, or with profile: development`;
    throw new CliError(EXIT.failure, text);
  }
  // `npm start` sets the compile cache itself.
  const found = revealingSwitches(switches, { ...environment, NODE_COMPILE_CACHE: undefined });
  return found.map((name) => `${name} may open this process's memory to others: refused in production`);
}
