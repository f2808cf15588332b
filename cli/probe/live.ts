import type { ProbeClient } from './client.ts';
import { type Failure, failure, judgeAnswer } from './judge.ts';
import type { Observed, Refused } from './observed.ts';
import type { Probe } from './probes.ts';
import type { ProbeResult } from './snapshot.ts';

export interface LiveOptions {
  readonly client: ProbeClient;
  readonly models: readonly string[];
  readonly probes: readonly Probe[];
  readonly maxTokens: number;
  readonly signal: AbortSignal;
  /** Told of each result as it comes. */
  readonly onResult: (result: ProbeResult) => void;
}

/** Probes models one request after another, whole and streamed. */
export async function probeModels(o: LiveOptions): Promise<ProbeResult[]> {
  const results: ProbeResult[] = [];
  for (const model of o.models) {
    for (const probe of o.probes) {
      for (const streamed of [false, true]) {
        o.signal.throwIfAborted();
        const result = await probeOnce(o, model, probe, streamed);
        results.push(result);
        o.onResult(result);
      }
    }
  }
  return results;
}

async function probeOnce(o: LiveOptions, model: string, probe: Probe, streamed: boolean): Promise<ProbeResult> {
  const { name, mode, judge } = probe;
  const base = { model, parser: '', probe: name, mode, streamed };
  const body = { model, temperature: 0, seed: 7, max_tokens: o.maxTokens, ...probe.body };
  let answer: Observed | Refused;
  try {
    answer = await o.client.ask(body, streamed, o.signal);
  } catch (thrown) {
    o.signal.throwIfAborted();
    return { ...base, ...failed(unanswered(thrown)) };
  }
  if (!('status' in answer)) {
    const found = withoutParser(judgeAnswer(answer), mode) ?? judge(answer);
    return { ...base, ...(found === null ? { outcome: 'pass' as const, class: null, detail: '' } : failed(found)) };
  }
  const { status, field, message } = answer;
  // What a model or engine cannot do is refused by its field.
  if (status === 400 && field !== '')
    return { ...base, outcome: 'unsupported', class: null, detail: `${field}: ${message}` };
  return { ...base, ...failed(failure('server', `${status} ${message}`)) };
}

/** Where calls are not wanted nobody parses them: markup is the model's own text. */
function withoutParser(found: Failure | null, mode: Probe['mode']): Failure | null {
  return found?.class === 'leak' && mode === 'none' ? { ...found, class: 'model' } : found;
}

function unanswered(thrown: unknown): Failure {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  return error.name === 'TimeoutError' ? failure('timeout', 'no answer in time') : failure('server', error.message);
}

function failed({ class: kind, detail }: Failure) {
  return { outcome: 'fail' as const, class: kind, detail };
}
