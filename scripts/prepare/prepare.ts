import { buildAddon, findAddons } from '#native/build.ts';
import { ensureEtcd } from '../etcd.ts';
import { since } from '../support/say.ts';
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

/** Those that take long come first. */
const fetched: readonly Preparation[] = [
  { name: 'Python clients', required: false, take: preparePython },
  { name: 'versitygw (S3)', required: false, take: prepareVersitygw },
  { name: 'azurite (Azure)', required: false, take: prepareAzurite },
  { name: 'NIXL', required: false, take: prepareNixl },
  { name: 'Go client', required: false, take: prepareGo },
  { name: 'default model', required: false, take: prepareModel },
  { name: 'NIXL header', required: false, take: prepareNixlHeader },
  { name: 'etcd', required: false, take: prepareEtcd },
  { name: 'Redis', required: false, take: prepareRedis },
];

/** Gets what tests need; each thing that cannot be had is one failed or skipped item with its reason. */
export async function prepareTests(show: (text: string) => void): Promise<Tally> {
  const tally = emptyTally();
  const say = (line: string): void => show(`${line}\n`);
  // Compilers want processors, everything else the network for most of the time.
  const waiting = fetched.values();
  const lanes = [[addons(say)], waiting, waiting];
  await Promise.all(lanes.map((lane) => prepareEach(lane, tally, say)));
  return tally;
}

async function prepareEach(lane: Iterable<Preparation>, tally: Tally, say: (line: string) => void): Promise<void> {
  for (const { name, required, take } of lane) {
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

function addons(say: (line: string) => void): Preparation {
  // Each spends part of its time with one processor: gyp, the last file, the linker.
  const take = async (): Promise<undefined> => {
    const waiting = (await findAddons()).values();
    const lane = async (): Promise<void> => {
      for (const name of waiting) await buildAddon(name, { force: false, variables: {}, say });
    };
    await Promise.all([lane(), lane()]);
  };
  return { name: 'native addons', required: true, take };
}

async function prepareEtcd(): Promise<string | undefined> {
  const reasons: string[] = [];
  const found = await ensureEtcd((line) => reasons.push(line));
  return found === null ? reasons.join('; ') : undefined;
}
