import type { SimulatedRequest } from '#core/scheduling/engine/engine-model.ts';
import type { TraceRequest } from '../traces/trace-request.ts';
import type { TrackedSequence } from './sim-rank.ts';
import type { SimWorker } from './sim-worker.ts';

/** Where a stage of a request runs. */
export interface Place {
  readonly worker: SimWorker;
  readonly rank: number;
  /** Name of the reservation. */
  readonly routeId: string;
}

/** A request on its way. */
export interface Flight {
  /** Order of sending, from 0; one more is its identifier in engines. */
  readonly index: number;
  readonly request: TraceRequest;
  readonly hashes: Uint8Array;
  readonly arrivalMs: number;
  routedMs: number;
  /** Blocks of output that the router was told of. */
  outputBlocks: number;
  /** Where the prompt is or was computed, and what came of it, where the stages are apart. */
  prefill: Place | undefined;
  prefilled: TrackedSequence | undefined;
  /** Where the output is made. */
  decode: Place | undefined;
  /** Hashes of prompt and output, where later prompts contain the output. */
  allHashes: Uint8Array | undefined;
  done(): void;
}

export function engineRequest(flight: Flight, role: 'aggregated' | 'prefill' | 'decode'): SimulatedRequest {
  const { request, index, hashes, arrivalMs } = flight;
  return {
    id: index + 1,
    promptTokens: request.promptTokens,
    sequenceHashes: hashes,
    maxTokens: request.outputTokens,
    arrivalMs,
    role,
  };
}
