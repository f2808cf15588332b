// `npm test`: runs the check and prepares what tests need, then runs the unit tests and the suites of tests/, but for heavy ones. Ends
// with `N passed, N failed`. `npm run test:heavy` runs those. Options: `--only check,unit,e2e,…`, `--grep REGEXP`, `--heavy`,
// `--at-once N`.
import { glob, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { runChecks } from './check/steps.ts';
import { prepareTests } from './prepare/prepare.ts';
import { inProject, projectRoot } from './support/project.ts';
import { runTool } from './support/run.ts';
import { say, since } from './support/say.ts';
import { type Job, sideBySide } from './support/side-by-side.ts';
import { addTally, emptyTally, summary, type Tally } from './support/tally.ts';

/** Several times what the longest suite takes on a quiet machine. */
const SUITE_TIMEOUT_MS = 40 * 60_000;
/** Patience with a busy machine: tests that wait in vain say so themselves, and sooner. */
const TEST_TIMEOUT_MS = 60_000;
/** Suites at once, unless `--at-once` says how many: most wait for other processes half of the time. Heavy ones want a machine of their own. */
const SUITES_AT_ONCE = 2;
/** Suites in their order: what fails fast and explains most comes first; others of tests/ follow by name. */
const ORDER = ['lint', 'unit', 'conformance', 'e2e', 'security'];
/** Suites that take minutes: faults, floods and whole installations. Files `x.heavy.test.ts` of other suites belong to `SUITE-heavy`. */
const HEAVY: ReadonlySet<string> = new Set(['chaos', 'kv-tiers', 'load', 'package']);
/** Random requests without a fixed end: what they find is a defect, but of no change in particular. */
const ON_DEMAND: ReadonlySet<string> = new Set(['fuzz']);
const HEAVY_FILE = '.heavy.test.ts';

/** The unit tests run in several processes. */
const UNIT_FOLDERS = ['{core,lib,native}', 'gateway', '{services,cli,sim,bench,scripts}'];

/** Files that run in one process. */
interface Part {
  readonly title: string;
  readonly files: readonly string[];
}

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    grep: { type: 'string' },
    heavy: { type: 'boolean', default: false },
    'at-once': { type: 'string' },
  },
});
const wanted = values.only?.split(',');
const total = emptyTally();
const startMs = Date.now();

const suites = await findSuites();
const unknown = wanted?.filter((name) => name !== 'check' && !suites.has(name)) ?? [];
if (unknown.length > 0) {
  say(`There is no suite ${unknown.join(', ')}; there are check, ${[...suites.keys()].join(', ')}.`);
  process.exitCode = 2;
} else {
  await runAll();
}

async function runAll(): Promise<void> {
  const chosen = [...suites].filter(([name]) => isWanted(name));
  const early: Job<Tally>[] = [];
  if (isWanted('check')) early.push(runChecks);
  if (chosen.length > 0) early.push(prepareTests);
  const jobs = chosen.flatMap(([, parts]) =>
    parts.map(
      (part): Job<Tally> =>
        (show) =>
          runPart(part, show),
    ),
  );
  for (const [some, atOnce] of [
    [early, early.length],
    [jobs, suitesAtOnce(chosen.map(([name]) => name))],
  ] as const) {
    for (const tally of await sideBySide(some, atOnce, write)) addTally(total, tally);
  }
  say(`\nAll suites took ${since(startMs)}.`);
  for (const note of total.notes) say(note);
  say(summary(total));
  process.exitCode = total.failed === 0 ? 0 : 1;
}

function write(text: string): void {
  process.stdout.write(text);
}

function suitesAtOnce(names: readonly string[]): number {
  if (values['at-once'] !== undefined) return Math.max(1, Number(values['at-once']) || 1);
  return names.some(isHeavy) ? 1 : Math.min(SUITES_AT_ONCE, os.availableParallelism());
}

function isWanted(name: string): boolean {
  if (wanted !== undefined) return wanted.includes(name);
  if (name === 'check') return values.grep === undefined && !values.heavy;
  return !ON_DEMAND.has(name) && values.heavy === isHeavy(name);
}

function isHeavy(suite: string): boolean {
  return HEAVY.has(suite) || suite.endsWith('-heavy');
}

async function findSuites(): Promise<Map<string, Part[]>> {
  const found = new Map<string, Part[]>();
  const add = (suite: string, files: readonly string[], of = ''): void => {
    for (const heavy of [false, true]) {
      const some = files.filter((file) => file.endsWith(HEAVY_FILE) === heavy);
      const name = heavy ? `${suite}-heavy` : suite;
      if (some.length > 0) found.set(name, [...(found.get(name) ?? []), { title: `${name}${of}`, files: some }]);
    }
  };
  for (const folders of UNIT_FOLDERS) {
    add(
      'unit',
      await testFiles(`${folders}/**/*.test.ts`),
      ` of ${folders.replace(/[{}]/g, '').replaceAll(',', ', ')}`,
    );
  }
  const folders = (await readdir(inProject('tests'), { withFileTypes: true })).filter((entry) => entry.isDirectory());
  for (const { name } of folders) add(name, await testFiles(`tests/${name}/**/*.test.ts`));
  const place = (name: string) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  return new Map([...found].sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b)));
}

async function testFiles(pattern: string): Promise<string[]> {
  const found: string[] = [];
  for await (const file of glob(pattern, { cwd: projectRoot })) if (!file.includes('node_modules')) found.push(file);
  return found.sort().map((file) => inProject(file));
}

/** Runs its files in a process of their own, so that a crash costs these alone and leaves a note. */
async function runPart({ title, files }: Part, show: (text: string) => void): Promise<Tally> {
  show(`\n── ${title} (${files.length} files)\n`);
  const folder = await mkdtemp(path.join(os.tmpdir(), 'stator-suite-'));
  const result = path.join(folder, 'result.json');
  const runner = inProject('scripts/support/mocha-run.ts');
  const flags = ['--disable-warning=ExperimentalWarning', '--expose-gc', runner];
  const color = process.stdout.isTTY ? ['--color'] : [];
  const args = [...flags, result, String(TEST_TIMEOUT_MS), values.grep ?? '', ...color, ...files];
  const outcome = await runTool('--conditions=source', args, { show, timeoutMs: SUITE_TIMEOUT_MS });
  const tally = await readTally(result);
  await rm(folder, { recursive: true, force: true });
  if (tally === undefined || (outcome.status !== 0 && tally.failed === 0)) {
    const part = tally ?? emptyTally();
    part.failed += 1;
    part.notes.push(`failed: suite ${title} ended early with status ${outcome.status}`);
    return part;
  }
  return tally;
}

async function readTally(file: string): Promise<Tally | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Tally);
}
