import type { Logger } from 'pino';
import type { Counter, Gauge, Registry } from 'prom-client';
import type { ConversionTally } from '#core/kv-events/event-converter.ts';
import type { DropReason } from '#core/kv-events/event-filter.ts';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';
import type { SubscriptionTally } from '#lib/zmq/subscription.ts';

/** Stored events without a single block that fits, after which that is said aloud; and again at ten times as many. */
const warnAfter = 16;

/** Drops that are the ordinary course of things; others are worth a warning when they first happen. */
const ordinary: ReadonlySet<DropReason> = new Set(['ignored', 'not_local', 'foreign_owner', 'other_attention']);

export interface EngineEventTally extends ConversionTally, SubscriptionTally {
  /** A stored event came, whatever becomes of it. */
  storedSeen(): void;
  /** Distinct blocks that are kept track of. */
  blocks(count: number): void;
  /** Ranks whose publisher is connected. */
  connected(count: number): void;
  /** The stream is not followed any more. */
  end(): void;
}

export interface TallyOptions {
  readonly log: Logger;
  readonly metrics: Registry;
  /** What names of metrics begin with, for example `stator_worker_kv_event`. Levels of streams with one name and labels add up. */
  readonly prefix: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly model: string;
  readonly blockSize: number;
}

/** Counters and warnings for the event stream of one model's engine. */
export function engineEventTally(o: TallyOptions): EngineEventTally {
  const { metrics, model, labels, log, prefix } = o;
  const names = Object.keys(labels);
  const counter = (name: string, help: string, more: string[] = []): Counter<string> =>
    counterOf<string>(metrics, `${prefix}_${name}`, help, [...names, ...more]);
  const level = (name: string, help: string): ((value: number) => void) =>
    share(gaugeOf<string>(metrics, `${prefix}_${name}`, help, names), labels);
  const batches = counter('batches_total', 'Messages of the engine, live or replayed.', ['source']);
  const applied = counter('applied_total', 'Blocks that engine events stored, removed or cleared.', ['type']);
  const unmatched = counter('unmatched_total', 'Blocks that engine events name and nobody stored.');
  const dropped = counter('dropped_total', 'Engine events that went no further, by reason.', ['reason']);
  const stream = counter('stream_total', 'Messages that were missing, lost, late or unreadable.', ['outcome']);
  const blocks = level('blocks', 'Blocks of the engine that are kept track of.');
  const connected = level('connected', 'Ranks of engines whose publisher is connected.');
  const mismatch = level('mismatch', 'Engines that store blocks of which none has ever fitted.');
  const outcome =
    (value: string) =>
    (by = 1): void =>
      stream.inc({ ...labels, outcome: value }, by);
  const watch = matchWatch({ ...o, onMismatch: (is) => mismatch(is ? 1 : 0) });
  return {
    storedSeen: watch.seen,
    blocks,
    connected,
    end: () => {
      blocks(0);
      mismatch(0);
      connected(0);
    },
    applied: (type, count) => {
      applied.inc({ ...labels, type }, count);
      if (type === 'stored') watch.fits();
    },
    unmatched: (count) => unmatched.inc({ ...labels }, count),
    dropped: (reason, detail) => {
      dropped.inc({ ...labels, reason });
      watch.dropped(reason, detail);
    },
    delivered: (replayed) => batches.inc({ ...labels, source: replayed ? 'replayed' : 'live' }),
    gap: outcome('missing'),
    lost: (count) => {
      outcome('lost')(count);
      log.warn({ model, messages: count }, 'KV event messages of the engine are lost: cached blocks may be misjudged');
    },
    stale: outcome('stale'),
    overflowed: outcome('overflowed'),
    restarted: () => {
      outcome('restarted')();
      log.info({ model }, 'the KV event stream of the engine began anew');
    },
    replayFailed: (error) => {
      outcome('replay_failed')();
      log.warn({ model, err: error }, 'the engine did not replay its KV events');
    },
    garbled: outcome('garbled'),
  };
}

/** A part of a level to which others add theirs. */
function share(gauge: Gauge<string>, labels: TallyOptions['labels']): (value: number) => void {
  let told = 0;
  gauge.inc({ ...labels }, 0);
  return (value) => {
    gauge.inc({ ...labels }, value - told);
    told = value;
  };
}

interface MatchWatch {
  seen(): void;
  fits(): void;
  dropped(reason: DropReason, detail: string): void;
}

/** Says each reason once, and says aloud when blocks are stored but none ever fits. */
function matchWatch(o: {
  readonly log: Logger;
  readonly model: string;
  readonly blockSize: number;
  onMismatch(is: boolean): void;
}): MatchWatch {
  const reasons = new Map<DropReason, number>();
  let storedEvents = 0;
  let warnAt = warnAfter;
  let fitted = false;
  const warn = (): void => {
    warnAt *= 10;
    o.onMismatch(true);
    const { model, blockSize } = o;
    o.log.warn(
      { model, blockSize, storedEvents, reasons: Object.fromEntries(reasons) },
      'the engine stores KV blocks and none fits: requests are routed as if nothing were cached (docs/kv-events.md)',
    );
  };
  return {
    seen: () => {
      storedEvents++;
      if (!fitted && storedEvents >= warnAt) warn();
    },
    fits: () => {
      if (!fitted) o.onMismatch(false);
      fitted = true;
    },
    dropped: (reason, detail) => {
      const before = reasons.get(reason) ?? 0;
      reasons.set(reason, before + 1);
      if (before > 0) return;
      const level = ordinary.has(reason) ? 'debug' : 'warn';
      o.log[level](
        { model: o.model, reason, detail },
        'KV events of the engine are dropped; said once for this reason',
      );
    },
  };
}
