import ava from 'ava';

/** For files that run beside another one (ava.e2e.config.js): their own tests run one after the other. */
export const test = ava.serial;
