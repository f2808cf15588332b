import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { runStator } from '#cli/stator.test-support.ts';
import { parseReportJson } from '#sim/report/report-json.ts';
import { flagsOf, type Overrides, StatorProcess } from '#tests/support/stator-process.ts';
import { type Figures, figuresOf } from './figures.ts';
import { engine, type Policy, type Run, sla, workers } from './plan.ts';
import { traceBlockTokens } from './trace.ts';

/** `stator replay` under virtual time. */
export function replayVirtually({ policy, ...run }: Run, settings: Overrides): Promise<Figures> {
  return replay(run, { ...engine, numWorkers: workers, routerMode: policy, ...settings });
}

/** The trace against a gateway, ours or Dynamo's, by the same client. */
export function replayOnline(url: string, run: Omit<Run, 'policy'>, settings: Overrides = {}): Promise<Figures> {
  return replay(run, { online: url, ...settings });
}

export interface LiveStator extends AsyncDisposable {
  readonly url: string;
}

/** Dynamo's default, so that both routers have the same cost. */
const prefillLoadScale = 1;

/** `stator up`: gateway, tokenizer and router in one process as Dynamo's frontend, and one process of mockers. */
export async function startStator(policy: Policy): Promise<LiveStator> {
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-routing-'));
  const mockers = flagsOf({ ...engine, workers, timing: 'polynomial', contextLength: 131_072 });
  const args = ['up', '--engine', 'mocker', '--port', '0', '--discovery', `file:${folder}`, '--', ...mockers];
  const stator = new StatorProcess(args, {
    env: { STATOR_MODE: policy, STATOR_PREFILL_LOAD_SCALE: String(prefillLoadScale) },
  });
  const stop = async (): Promise<void> => {
    await stator[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const [, url = ''] = await stator.printed(/URL\s+(http:\S+)\/v1/, 60_000);
    return { url, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function replay({ trace, speedup }: Omit<Run, 'policy'>, settings: Overrides): Promise<Figures> {
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-routing-'));
  const reportJson = path.join(folder, 'report.json');
  const bounds = { slaTtftMs: sla.ttftMs, slaItlMs: sla.itlMs };
  const load = { traceBlockSize: traceBlockTokens, arrivalSpeedupRatio: speedup, prefillLoadScale };
  try {
    const flags = flagsOf({ ...load, ...bounds, ...settings, reportJson });
    const { code, stderr } = await runStator(['replay', trace, ...flags]);
    if (code !== 0) throw new Error(`stator replay ended with ${code}: ${stderr}`);
    return figuresOf(parseReportJson(await readFile(reportJson, 'utf8'), reportJson));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
