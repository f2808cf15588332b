import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { inProject } from '../../../scripts/support/project.ts';
import { run } from '../../../scripts/support/run.ts';
import { pythonOf, venvs } from '../../support/python.ts';

/** What a run found. */
export interface Findings {
  readonly operations: number;
  readonly cases: number;
  /** What was wrong, as Schemathesis tells it, with the command that shows it again; empty: nothing. */
  readonly faults: string;
}

interface Report {
  readonly complete: boolean;
  readonly operations: { readonly tested: number; readonly errored: number };
  readonly test_cases: { readonly generated: number };
  readonly failures: readonly unknown[];
  readonly errors: readonly unknown[];
}

export interface RunOptions {
  /** Origin of the gateway. */
  readonly url: string;
  readonly phases: readonly ('examples' | 'coverage' | 'fuzzing' | 'stateful')[];
  /** Random cases of one operation. */
  readonly examples: number;
  /** Sent as `authorization: Bearer`. */
  readonly key?: string;
  /** Only these operations, by a regular expression of their paths. Default: all but the one that makes every worker busy. */
  readonly paths?: string;
}

/** Others could not be asked after it. */
const disturbing = 'setBusyThreshold';

/** Asks whatever the gateway's own OpenAPI document allows, and what it forbids. The same seed asks the same. */
export async function runSchemathesis({ url, phases, examples, key, paths }: RunOptions): Promise<Findings> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'stator-schemathesis-'));
  const file = path.join(folder, 'report.json');
  const config = inProject('tests/conformance/schemathesis/schemathesis.toml');
  const args = ['--config-file', config, 'run', `${url}/openapi.json`, '--checks', 'all', '--seed', '7'];
  args.push('--phases', phases.join(','), '--max-examples', String(examples), '--continue-on-failure', '--no-color');
  args.push('--generation-database', 'none', '--output-sanitize', 'false', '--warnings', 'off');
  args.push('--report', 'json', '--report-json-path', file);
  if (key !== undefined) args.push('--header', `Authorization: Bearer ${key}`);
  args.push(...(paths === undefined ? ['--exclude-operation-id', disturbing] : ['--include-path-regex', paths]));
  try {
    const program = path.join(path.dirname(pythonOf(venvs.schemathesis.folder)), 'schemathesis');
    const { output } = await run(program, args, { cwd: folder });
    const report = JSON.parse(await readFile(file, 'utf8').catch(() => '{}')) as Partial<Report>;
    const { operations, test_cases: cases, failures = [], errors = [], complete = false } = report;
    const isSound = complete && failures.length === 0 && errors.length === 0 && operations?.errored === 0;
    return { operations: operations?.tested ?? 0, cases: cases?.generated ?? 0, faults: isSound ? '' : told(output) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The part of the output that says what is wrong. */
function told(output: string): string {
  const start = output.search(/^=+ (FAILURES|ERRORS) =+$/m);
  return output.slice(Math.max(0, start)).slice(0, 20_000);
}
