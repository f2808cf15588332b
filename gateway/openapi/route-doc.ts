import { z } from 'zod';
import { anthropicError } from '../api/anthropic/answers.ts';
import { errorBody } from '../api/schemas/responses.ts';
import type { Refusals } from './refusals.ts';

export interface Answer {
  readonly status: string;
  readonly description: string;
  readonly schema: z.ZodType | null;
  /** Default application/json. */
  readonly media?: string;
}

/** A parameter of the query or a header. */
export interface Parameter {
  readonly name: string;
  readonly in: 'query' | 'header';
  readonly description: string;
  readonly schema: object;
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
  /** Whether limits of keys count it. */
  readonly limited?: boolean;
  readonly parameters?: readonly Parameter[];
  /** What the data of each event is, where the answer can be a stream. */
  readonly events?: z.ZodType;
  /** Who may ask: whoever has a key (default), administrators, or everybody. */
  readonly access?: 'admin' | 'open';
  readonly answers: readonly Answer[];
  readonly refusals: Refusals;
  /** Whose shape errors have. Default OpenAI's. */
  readonly errors?: ErrorShape;
}

/** `either`: Anthropic's where the request has the header `anthropic-version`. */
export type ErrorShape = 'openai' | 'anthropic' | 'either';

export const errorSchemas: Readonly<Record<ErrorShape, z.ZodType>> = {
  openai: errorBody,
  anthropic: anthropicError,
  either: z.union([errorBody, anthropicError]),
};

/** An answer with status 200. */
export function answered(description: string, schema: z.ZodType | null, media?: string): Answer {
  return media === undefined ? { status: '200', description, schema } : { status: '200', description, schema, media };
}
