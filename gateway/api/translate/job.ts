import type { SessionNaming } from '../../agents/redact.ts';
import type { ReasoningField } from '../../output/chat-parts.ts';
import type { Dispatches } from '../../output/dispatch-events.ts';
import type { NamedConstraint } from '../../parsing/constraint.ts';
import type { GenerationRequest } from '../../pipeline/request.ts';
import type { dryRunPrefix, Nvext } from '../schemas/nvext.ts';
import type { StreamOptions } from './common.ts';

type AskedAnnotation = NonNullable<Nvext['annotations']>[number];
export type Annotation = Exclude<AskedAnnotation, `${typeof dryRunPrefix}${string}`>;
export type ExtraField = Exclude<NonNullable<Nvext['extra_fields']>[number], 'routed_experts' | 'engine_data'>;

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
  readonly reasoningField: ReasoningField;
  readonly dispatches: Dispatches;
  readonly promptLogprobs: boolean;
  readonly echo: boolean;
  /** Events in front of a stream; empty for a whole answer. */
  readonly annotations: readonly Annotation[];
  /** Whether the decision and every worker's cost are wanted, streamed or not. */
  readonly explain: boolean;
  /** Phase of a dry run, which says where the request would go and generates nothing; may be empty. null: a real request. */
  readonly dryRun: string | null;
  readonly extraFields: ReadonlySet<ExtraField>;
}

/** A validated request: how to answer it and one generation for each prompt. */
export interface Job {
  readonly plan: AnswerPlan;
  readonly requests: readonly GenerationRequest[];
  /** What is asked for and left to the model, for the header that says so; absent: nothing. */
  readonly notEnforced?: string;
  /** The client's own words for the trace. */
  readonly traceAttributes: Readonly<Record<string, string>>;
}

export type NamedGuided = NamedConstraint;

/** What translation knows besides the body. */
export interface TranslateInput {
  readonly requestId: string;
  readonly nowMs: number;
  readonly timeoutMs: number;
  /** Default: both. */
  readonly reasoningField?: ReasoningField;
  /** What streams of chats tell as a whole too; default nothing. */
  readonly dispatches?: Dispatches;
  /** Whether strict tools are refused where calls cannot be kept to their schemas. Default: true. */
  readonly enforceStrict?: boolean;
  /** Seconds that the API asks to keep the prompt cached, where nobody says otherwise. Default: nothing is asked. */
  readonly keepSeconds?: number | null;
  /** Whether next turns are computed in advance where that is asked. Default: they are. */
  readonly speculates?: boolean;
  /** How sessions are named in traces. Default: by digests. */
  readonly sessionNaming?: SessionNaming;
}
