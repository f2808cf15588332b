import type { z } from 'zod';
import { errorBody } from '../api/schemas/responses.ts';

export interface Answer {
  readonly status: string;
  readonly description: string;
  readonly schema: z.ZodType | null;
  /** Default application/json. */
  readonly media?: string;
}

export interface RouteDoc {
  readonly path: string;
  /** Further paths that do the same. */
  readonly aliases?: readonly string[];
  readonly method: 'get' | 'post' | 'delete';
  readonly operationId: string;
  readonly summary: string;
  readonly body: z.ZodType | null;
  /** Default application/json. */
  readonly bodyMedia?: string;
  /** Whether it takes routing headers. */
  readonly routed?: boolean;
  readonly answers: readonly Answer[];
}

/** Errors of the caller. */
export const refused: Answer = {
  status: '4XX',
  description: 'The request is at fault; `param` names the field.',
  schema: errorBody,
};
/** Errors of ours. */
export const failed: Answer = {
  status: '5XX',
  description: 'The service is at fault or not ready.',
  schema: errorBody,
};

/** An answer with status 200. */
export function answered(description: string, schema: z.ZodType | null, media?: string): Answer {
  return media === undefined ? { status: '200', description, schema } : { status: '200', description, schema, media };
}
