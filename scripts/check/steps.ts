import { existsSync } from 'node:fs';
import { inProject, projectRoot } from '../support/project.ts';
import { type Outcome, run, runTool } from '../support/run.ts';
import { since } from '../support/say.ts';
import { type Job, sideBySide } from '../support/side-by-side.ts';
import { addTally, emptyTally, type Tally } from '../support/tally.ts';
import { findImportCycles } from './import-cycles.ts';

/** What a step found: its outcome, or why it could not be taken. */
type Verdict = Outcome | { readonly skipped: string };

interface Step {
  readonly name: string;
  take(): Promise<Verdict>;
}

const STEPS_AT_ONCE = 2;

const tsc = inProject('node_modules/typescript/bin/tsc');
const biome = inProject('node_modules/@biomejs/biome/bin/biome');
const knip = inProject('node_modules/knip/bin/knip.js');
const buf = inProject('node_modules/@bufbuild/buf/bin/buf');

const steps: readonly Step[] = [
  { name: 'types', take: () => runTool(tsc, ['--noEmit', '-p', '.']) },
  {
    name: 'lint, format, dependence',
    take: () => runTool(biome, ['check', '--max-diagnostics=200', '--colors=off', '.']),
  },
  { name: 'import cycles', take: importCycles },
  { name: 'unused files, exports, packages', take: () => runTool(knip, ['--no-progress']) },
  { name: 'contracts: lint', take: () => runTool(buf, ['lint']) },
  { name: 'contracts: format', take: () => runTool(buf, ['format', '--diff', '--exit-code']) },
  { name: 'contracts: breaking changes', take: breaking },
  { name: 'generated code', take: () => script('scripts/gen.ts') },
  { name: 'docs/errors.md', take: () => script('scripts/error-docs.ts') },
  { name: 'docs/configuration.md', take: () => script('scripts/docs.ts') },
];

/** Takes every step; one line each. A failing step does not hide the others. */
export async function runChecks(show: (text: string) => void): Promise<Tally> {
  const jobs = steps.map(
    (step): Job<Tally> =>
      (showStep) =>
        takeStep(step, (line) => showStep(`${line}\n`)),
  );
  const tally = emptyTally();
  for (const part of await sideBySide(jobs, STEPS_AT_ONCE, show)) addTally(tally, part);
  return tally;
}

async function takeStep(step: Step, say: (line: string) => void): Promise<Tally> {
  const tally = emptyTally();
  const startMs = Date.now();
  const verdict = await step.take();
  if ('skipped' in verdict) {
    tally.skipped += 1;
    tally.notes.push(`skipped: ${step.name}: ${verdict.skipped}`);
    say(`skip  ${step.name}: ${verdict.skipped}`);
  } else if (verdict.status === 0) {
    tally.passed += 1;
    say(`ok    ${step.name} (${since(startMs)})`);
  } else {
    tally.failed += 1;
    tally.notes.push(`failed: check: ${step.name}`);
    say(`FAIL  ${step.name}\n${verdict.output.trimEnd()}`);
  }
  return tally;
}

async function importCycles(): Promise<Verdict> {
  const cycles = await findImportCycles(projectRoot);
  return { status: cycles.length, output: cycles.map((cycle) => cycle.join('\n  → ')).join('\n') };
}

async function breaking(): Promise<Verdict> {
  const tag = await run('git', ['describe', '--tags', '--abbrev=0', '--match', 'v*']);
  if (tag.status !== 0) return { skipped: 'no release tag to compare with' };
  return runTool(buf, ['breaking', '--against', `.git#tag=${tag.output.trim()}`]);
}

async function script(name: string): Promise<Verdict> {
  if (!existsSync(inProject(name))) return { skipped: `${name} does not exist` };
  return runTool('--conditions=source', ['--disable-warning=ExperimentalWarning', inProject(name), '--check']);
}
