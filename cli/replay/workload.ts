import { access } from 'node:fs/promises';
import { basename } from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';
import type { LoadOptions } from '#sim/replay/load-driver.ts';
import { generateMooncakeLike } from '#sim/traces/mooncake-like.ts';
import { openTrace } from '#sim/traces/open-trace.ts';
import { generateSynthetic } from '#sim/traces/synthetic.ts';
import type { TraceRequest } from '#sim/traces/trace-request.ts';
import type { ReplaySettings } from './settings.ts';

/** What is replayed, and when. */
export interface Workload {
  /** For people. */
  readonly name: string;
  /** The requests, from the first; may be asked for several times. */
  open(): AsyncIterable<TraceRequest>;
  /** NaN: not known. */
  readonly expectedRequests: number;
  readonly load: LoadOptions;
}

const defaultRequests = 1000;
const defaultIntervalMs = 100;

/** `files`: what was named on the command line. Throws `invalid_argument` where that is not one trace or a generator. */
export async function workloadOf(files: readonly string[], settings: ReplaySettings): Promise<Workload> {
  const [file] = files;
  if (settings.synthetic === 'off') {
    if (file === undefined)
      throw StatorError.invalid(
        'TRACE',
        'Name a trace, or generate load with --synthetic plain or --synthetic mooncake.',
      );
    if (files.length > 1) throw StatorError.invalid('TRACE', `One trace at a time: ${files.join(', ')}.`);
    await access(file).catch((cause: unknown) => {
      throw StatorError.invalid('TRACE', `The trace ${file} cannot be read.`, { cause });
    });
    return recorded(file, settings);
  }
  if (file !== undefined)
    throw StatorError.invalid(
      'TRACE',
      `--synthetic ${settings.synthetic} generates load: it takes no trace (${file}).`,
    );
  return settings.synthetic === 'plain' ? plain(settings) : mooncake(settings);
}

function recorded(file: string, settings: ReplaySettings): Workload {
  const {
    traceFormat: format,
    traceBlockSize: blockTokens,
    traceModel: model,
    sharedPrefixRatio,
    numPrefixGroups,
    requestCount,
  } = settings;
  return {
    name: basename(file),
    open: () => openTrace(file, { format, model, blockTokens, sharedPrefixRatio, prefixGroups: numPrefixGroups }),
    expectedRequests: Number.NaN,
    load: loadOf(settings, { maxRequests: requestCount ?? Infinity, intervalMs: settings.arrivalIntervalMs }),
  };
}

function plain(settings: ReplaySettings): Workload {
  const { requestCount = defaultRequests, turnsPerSession: turns, arrivalIntervalMs = defaultIntervalMs } = settings;
  const { inputTokens, outputTokens } = settings;
  const options = {
    sessions: Math.ceil(requestCount / turns),
    inputTokens,
    outputTokens,
    spread: settings.lengthSpread,
    intervalMs: arrivalIntervalMs,
    arrivals: settings.arrivals,
    burstShape: settings.burstShape,
    sharedPrefixRatio: settings.sharedPrefixRatio,
    prefixGroups: settings.numPrefixGroups,
    turns,
    turnTokens: settings.turnTokens,
    interTurnDelayMs: settings.interTurnDelayMs,
    blockTokens: settings.traceBlockSize,
    seed: settings.seed,
  };
  return {
    name: `synthetic load (${inputTokens} in, ${outputTokens} out)`,
    open: () => asynchronous(generateSynthetic(options)),
    expectedRequests: requestCount,
    // The generator's arrivals already lie so far apart.
    load: loadOf(settings, { maxRequests: requestCount, intervalMs: undefined }),
  };
}

function mooncake(settings: ReplaySettings): Workload {
  const { requestCount = defaultRequests, seed, arrivalIntervalMs } = settings;
  return {
    name: 'synthetic load (like Mooncake)',
    open: () => asynchronous(generateMooncakeLike({ requests: requestCount, seed })),
    expectedRequests: requestCount,
    load: loadOf(settings, { maxRequests: requestCount, intervalMs: arrivalIntervalMs }),
  };
}

function loadOf(
  { concurrency, arrivalSpeedupRatio: speedup }: ReplaySettings,
  rest: Pick<LoadOptions, 'maxRequests' | 'intervalMs'>,
): LoadOptions {
  return { concurrency, speedup, ...rest };
}

async function* asynchronous<T>(values: Iterable<T>): AsyncGenerator<T> {
  yield* values;
}
