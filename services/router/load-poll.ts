import type { Client } from '@connectrpc/connect';
import type { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import type { RankLoad } from '#gen/stator/events/v1/events_pb.ts';

/** A worker being asked for its load. */
export interface LoadPoll {
  /** Whether the last question was answered. */
  readonly alive: boolean;
  close(): void;
}

export interface LoadPollOptions {
  readonly client: Pick<Client<typeof EngineService>, 'getLoad'>;
  readonly intervalMs: number;
  /** Closes the connection under `client`. */
  onClose(): void;
  onLoad(ranks: readonly RankLoad[]): void;
  /** Told once when an answer stays out after earlier ones. */
  onGone(): void;
}

/** A worker without an address has no load of its own to tell. */
export const noLoadPoll: LoadPoll = { alive: false, close: () => {} };

/** Asks one worker for its load again and again, one question at a time. */
export function startLoadPoll(options: LoadPollOptions): LoadPoll {
  let alive = false;
  let timer: NodeJS.Timeout | undefined;
  const stop = new AbortController();
  const ask = async (): Promise<void> => {
    try {
      const timeoutMs = Math.max(options.intervalMs, 1000);
      const { load } = await options.client.getLoad({}, { signal: stop.signal, timeoutMs });
      if (stop.signal.aborted) return;
      alive = true;
      options.onLoad(load?.ranks ?? []);
    } catch {
      if (stop.signal.aborted) return;
      const was = alive;
      alive = false;
      if (was) options.onGone();
    }
    if (!stop.signal.aborted) timer = setTimeout(() => void ask(), options.intervalMs).unref();
  };
  void ask();
  return {
    get alive() {
      return alive;
    },
    close() {
      stop.abort();
      clearTimeout(timer);
      options.onClose();
    },
  };
}
