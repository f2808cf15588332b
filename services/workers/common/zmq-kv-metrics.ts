import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
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
}

/** Counters and warnings for the event stream of one model's engine. */
export function engineEventTally(o: {
  readonly log: Logger;
  readonly metrics: Registry;
  readonly model: string;
  readonly blockSize: number;
}): EngineEventTally {
  const { metrics, model, log } = o;
  const name = (rest: string): string => `stator_worker_kv_event_${rest}`;
  const batches = counterOf(metrics, name('batches_total'), 'Messages of the engine, live or replayed.', [
    'model',
    'source',
  ]);
  const applied = counterOf(metrics, name('applied_total'), 'Blocks that engine events stored, removed or cleared.', [
    'model',
    'type',
  ]);
  const unmatched = counterOf(metrics, name('unmatched_total'), 'Blocks that engine events name and nobody stored.', [
    'model',
  ]);
  const dropped = counterOf(metrics, name('dropped_total'), 'Engine events that went no further, by reason.', [
    'model',
    'reason',
  ]);
  const stream = counterOf(metrics, name('stream_total'), 'Messages that were missing, lost, late or unreadable.', [
    'model',
    'outcome',
  ]);
  const blocks = gaugeOf(metrics, name('blocks'), 'Blocks of the engine that are kept track of.', ['model']);
  const mismatch = gaugeOf(metrics, name('mismatch'), '1 while blocks are stored and none has ever fitted.', ['model']);
  const outcome =
    (value: string) =>
    (by = 1): void =>
      stream.inc({ model, outcome: value }, by);
  const watch = matchWatch({ ...o, onMismatch: (is) => mismatch.set({ model }, is ? 1 : 0) });
  mismatch.set({ model }, 0);
  return {
    storedSeen: watch.seen,
    blocks: (count) => blocks.set({ model }, count),
    applied: (type, count) => {
      applied.inc({ model, type }, count);
      if (type === 'stored') watch.fits();
    },
    unmatched: (count) => unmatched.inc({ model }, count),
    dropped: (reason, detail) => {
      dropped.inc({ model, reason });
      watch.dropped(reason, detail);
    },
    delivered: (replayed) => batches.inc({ model, source: replayed ? 'replayed' : 'live' }),
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
      'the engine stores KV blocks and none fits this worker: requests are routed as if nothing were cached (docs/kv-events.md)',
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
