import type { GenerationRequest, Guided } from '../../pipeline/request.ts';
import type { Nvext } from '../schemas/nvext.ts';
import type { StreamOptions } from './common.ts';

export type Annotation = NonNullable<Nvext['annotations']>[number];
export type ExtraField = NonNullable<Nvext['extra_fields']>[number];

/** How an answer is written. */
export interface AnswerPlan {
  readonly kind: 'chat' | 'completion';
  readonly id: string;
  readonly createdUnix: number;
  /** Primary name of the model. */
  readonly model: string;
  /** Changes with everything that decides answers: the card's digest. */
  readonly fingerprint: string;
  readonly stream: StreamOptions;
  readonly logprobs: boolean;
  readonly tokensAsIds: boolean;
  readonly promptLogprobs: boolean;
  readonly echo: boolean;
  readonly annotations: readonly Annotation[];
  readonly extraFields: ReadonlySet<ExtraField>;
}

/** A validated request: how to answer it and one generation for each prompt. */
export interface Job {
  readonly plan: AnswerPlan;
  readonly requests: readonly GenerationRequest[];
  /** The client's own words for the trace. */
  readonly traceAttributes: Readonly<Record<string, string>>;
}

export interface NamedGuided {
  readonly guided: Guided;
  readonly field: string;
}

/** What translation knows besides the body. */
export interface TranslateInput {
  readonly requestId: string;
  readonly nowMs: number;
  readonly timeoutMs: number;
}
