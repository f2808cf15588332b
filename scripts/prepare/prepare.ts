import { buildAddon, findAddons } from '#native/build.ts';
import { ensureEtcd } from '../etcd.ts';
import { say, since } from '../support/say.ts';
import { emptyTally, type Tally } from '../support/tally.ts';
import { prepareGo } from './go.ts';
import { prepareModel } from './model.ts';
import { prepareNixl, prepareNixlHeader } from './nixl.ts';
import { prepareAzurite, prepareVersitygw } from './object-servers.ts';
import { preparePython } from './python.ts';
import { prepareRedis } from './redis.ts';

interface Preparation {
  readonly name: string;
  /** Without it, tests fail; otherwise those that need it are skipped. */
  readonly required: boolean;
  /** Returns why it could not be had, or undefined. */
  take(): Promise<string | undefined>;
}

const preparations: readonly Preparation[] = [
  { name: 'native addons', required: true, take: prepareAddons },
  { name: 'default model', required: false, take: prepareModel },
  { name: 'etcd', required: false, take: prepareEtcd },
  { name: 'Python clients', required: false, take: preparePython },
  { name: 'Go client', required: false, take: prepareGo },
  { name: 'versitygw (S3)', required: false, take: prepareVersitygw },
  { name: 'azurite (Azure)', required: false, take: prepareAzurite },
  { name: 'Redis', required: false, take: prepareRedis },
  { name: 'NIXL', required: false, take: prepareNixl },
  { name: 'NIXL header', required: false, take: prepareNixlHeader },
];

/** Gets what tests need; each thing that cannot be had is one failed or skipped item with its reason. */
export async function prepareTests(): Promise<Tally> {
  const tally = emptyTally();
  // Compilers want processors, everything else the network.
  const [compiled, ...fetched] = preparations;
  await Promise.all([prepareEach(compiled === undefined ? [] : [compiled], tally), prepareEach(fetched, tally)]);
  return tally;
}

async function prepareEach(some: readonly Preparation[], tally: Tally): Promise<void> {
  for (const { name, required, take } of some) {
    const startMs = Date.now();
    const problem = await take().catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
    if (problem === undefined) say(`ready ${name} (${since(startMs)})`);
    else {
      say(`${required ? 'FAIL ' : 'skip '} ${name}: ${problem}`);
      tally[required ? 'failed' : 'skipped'] += 1;
      tally.notes.push(`${required ? 'failed' : 'skipped'}: ${name}: ${problem.split('\n')[0]}`);
    }
  }
}

async function prepareAddons(): Promise<undefined> {
  for (const name of await findAddons()) await buildAddon(name, { force: false, variables: {}, say });
}

async function prepareEtcd(): Promise<string | undefined> {
  const reasons: string[] = [];
  const found = await ensureEtcd((line) => reasons.push(line));
  return found === null ? reasons.join('; ') : undefined;
}
