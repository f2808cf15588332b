import { readAppliedCompute } from './applied-compute.ts';
import { inOrder } from './in-order.ts';
import { readAgenticMooncake, readMooncake, readMooncakeDelta } from './mooncake.ts';
import { readRequestTrace } from './request-trace.ts';
import type { TraceRequest } from './trace-request.ts';

export const traceFormats = [
  'mooncake',
  'mooncake-delta',
  'agentic_mooncake',
  'applied_compute_agentic',
  'dynamo',
] as const;

export type TraceFormat = (typeof traceFormats)[number];

export interface TraceOptions {
  readonly format: TraceFormat;
  /** Tokens that one id stands for, where the trace does not say. */
  readonly blockTokens: number;
  /** For sessions that name no content: the part of their first prompt that a group shares, and how many groups. */
  readonly sharedPrefixRatio: number;
  readonly prefixGroups: number;
  /** Of records of several models: only those of this one; empty: all. Other forms name no model. */
  readonly model?: string;
}

/** The requests of a trace, by arrival. What is wrong in a line is thrown when it is read, naming the line. */
export function openTrace(file: string, options: TraceOptions): AsyncIterable<TraceRequest> {
  switch (options.format) {
    case 'mooncake':
      return inOrder(file, readMooncake(file, options));
    case 'mooncake-delta':
      return inOrder(file, readMooncakeDelta(file, options));
    case 'agentic_mooncake':
      return inOrder(file, readAgenticMooncake(file, options));
    case 'applied_compute_agentic':
      return readAppliedCompute(file, options);
    case 'dynamo':
      return readRequestTrace(file, options.model ?? '');
  }
}
