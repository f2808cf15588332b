import type { Setup } from './collect.ts';
import { jsonCases } from './json-cases.ts';
import { reasoningCases } from './reasoning-cases.ts';
import { taggedCases } from './tagged-cases.ts';

/** An answer of a model and what it means. Calls: name, arguments, then "…" where the call is incomplete; or its id. */
export interface Case {
  readonly name: string;
  readonly setup: Setup;
  readonly text: string;
  readonly content?: string;
  readonly reasoning?: string;
  readonly calls?: readonly (readonly [name: string, json: string, mark?: string])[];
}

export const cases: readonly Case[] = [...jsonCases, ...taggedCases, ...reasoningCases];
