import test from 'ava';
import { fakeAgent, type Request } from '../fake-agent.ts';
import { dekctl } from '../run.ts';

const DAY = 86_400;
let last: Request;
let custodians = 1;
const agent = fakeAgent(test, {
  ScheduleKeyDeletion: (request) => {
    last = request;
    const second = custodians === 2;
    return {
      state: second ? 'KEY_STATE_PENDING_DELETION' : 'KEY_STATE_ACTIVE',
      in_effect: second,
      deletion_at: second ? { seconds: 30 * DAY } : undefined,
      requested_by: ['uid 2001', 'uid 2002'].slice(0, custodians),
      custodians_needed: 2,
      waiting_period: request.waiting_period,
    };
  },
  CancelKeyDeletion: ({ key }) => ({ state: key === 'orders' ? 'KEY_STATE_DISABLED' : 'KEY_STATE_ACTIVE' }),
});
const keys = async (...args: string[]) => {
  const { code, stdout, stderr } = await dekctl(['keys', ...args, ...agent.flags]);
  return { code, stdout: stdout.toString(), stderr };
};

test.serial('the first custodian hears what must happen next, the second when the key ends', async (t) => {
  custodians = 1;
  t.is(
    (await keys('schedule-deletion', 'orders', '--waiting-period', '7d')).stdout,
    'uid 2001 asked to destroy orders after 7d; nothing has changed yet: within 24 h another custodian must run the same: ' +
      'dekctl keys schedule-deletion orders --waiting-period 7d\n',
  );
  t.deepEqual([last.key, last.waiting_period], ['orders', { seconds: String(7 * DAY), nanos: 0 }]);
  custodians = 2;
  t.is(
    (await keys('schedule-deletion', 'orders')).stdout,
    'orders will be destroyed at 1970-01-31T00:00:00.000Z, as uid 2001, uid 2002 asked; until then every use is refused; ' +
      'stop it with: dekctl keys cancel-deletion orders\n',
  );
  t.deepEqual(last.waiting_period, { seconds: String(30 * DAY), nanos: 0 });
});

test.serial('one KEK of the key: it is named in the request and in the commands that follow', async (t) => {
  const kek = ['--kek', 'local:retired'];
  custodians = 1;
  t.is(
    (await keys('schedule-deletion', 'orders', '--waiting-period', '7d', ...kek)).stdout,
    'uid 2001 asked to destroy KEK local:retired of orders after 7d; nothing has changed yet: within 24 h another custodian ' +
      'must run the same: dekctl keys schedule-deletion orders --kek local:retired --waiting-period 7d\n',
  );
  t.is(last.kek, 'local:retired');
  custodians = 2;
  t.is(
    (await keys('schedule-deletion', 'orders', ...kek)).stdout,
    'KEK local:retired of orders will be destroyed at 1970-01-31T00:00:00.000Z, as uid 2001, uid 2002 asked; until then every use is refused; ' +
      'stop it with: dekctl keys cancel-deletion orders --kek local:retired\n',
  );
  t.is(
    (await keys('cancel-deletion', 'carts', ...kek)).stdout,
    'KEK local:retired of carts (the key is active) will not be destroyed; see its state with: dekctl keys describe carts\n',
  );
});

test.serial('for programs', async (t) => {
  custodians = 1;
  const document = JSON.parse((await keys('schedule-deletion', 'orders', '--json')).stdout);
  t.like(document, { in_effect: false, deletion_at: null, requested_by: ['uid 2001'], waiting_period: '2592000s' });
});

test.serial('a waiting period without a unit is refused before anything is asked', async (t) => {
  last = undefined;
  const { code, stderr } = await keys('schedule-deletion', 'orders', '--waiting-period', '30');
  t.is(code, 2);
  t.is(stderr, 'dekctl: --waiting-period 30: expected a duration from 7d to 30d, such as 14d\n');
  t.is(last, undefined);
});

test.serial('cancelled: what the key is now', async (t) => {
  t.is(
    (await keys('cancel-deletion', 'orders')).stdout,
    'orders will not be destroyed; it is disabled; back with: dekctl keys enable orders\n',
  );
  t.is((await keys('cancel-deletion', 'carts')).stdout, 'carts will not be destroyed; it is active\n');
});
