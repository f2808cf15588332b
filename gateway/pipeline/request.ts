import type { MessageInitShape } from '@bufbuild/protobuf';
import type { GuidedDecodingSchema, SamplingParams } from '#gen/stator/engine/v1/generate_pb.ts';
import type { RouterMode } from '#gen/stator/router/v1/router_pb.ts';
import type { PreprocessRequest } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import type { AgentFacts } from '../agents/facts.ts';
import type { ResolvedModel } from '../models/catalog.ts';
import type { ParsingWishes } from '../parsing/wishes.ts';

/** When a choice ends. */
export interface StopOptions {
  /** Most output tokens; null: what the context leaves. */
  readonly maxTokens: number | null;
  /** Whether `maxTokens` may be more than the context leaves: agents name the same number whatever the prompt. Default: no. */
  readonly fitsContext?: boolean;
  readonly minTokens: number;
  readonly stopTokenIds: readonly number[];
  readonly ignoreEos: boolean;
  readonly stopStrings: readonly string[];
  readonly includeStopString: boolean;
}

/** Settings of the router that one request overrides; absent: the router's own. */
export interface RoutingOverrides {
  readonly overlapCredit?: number;
  readonly prefillLoadScale?: number;
  readonly temperature?: number;
}

/** What the client wants of routing. */
export interface RoutingWishes {
  /** Worker that must serve it, or where others compute prompts its output; null: any. */
  readonly instanceId: bigint | null;
  readonly dataParallelRank: number | null;
  /** The same for the prefill worker, where that is another one. */
  readonly prefill: { readonly instanceId: bigint | null; readonly dataParallelRank: number | null };
  /** Only these workers; empty: any. */
  readonly allowedInstanceIds: readonly bigint[];
  readonly requiredTaints: readonly string[];
  readonly preferredTaints: Readonly<Record<string, number>>;
  /** Added to the score in the router's queue. */
  readonly queuePriority: number;
  readonly strictPriority: number;
  /** Tokens of each choice; null: unknown. */
  readonly expectedOutputTokens: number | null;
  /** Requests of one session prefer one worker; empty: none. */
  readonly sessionId: string;
  /** Session of the agent that began this one; empty: none. */
  readonly parentSessionId: string;
  /** Whether no request of the session follows. */
  readonly sessionFinal: boolean;
  /** Class of the router's queue; empty: by its rules. */
  readonly policyClass: string;
  /** Unix time in milliseconds at which it arrived. */
  readonly arrivalUnixMs: number;
  /** Unix time in milliseconds after which the client does not want it any more; 0: it did not say. */
  readonly deadlineUnixMs: number;
  /** How the worker is chosen; unspecified: as the router is set. */
  readonly mode: RouterMode;
  readonly overrides: RoutingOverrides;
}

export type Sampling = Omit<SamplingParams, '$typeName' | '$unknown'>;
export type Guided = NonNullable<MessageInitShape<typeof GuidedDecodingSchema>['constraint']>;

/** One prompt and how to answer it: what every API of the gateway turns its request into. */
export interface GenerationRequest {
  /** Identifier of this prompt, unique in the gateway. */
  readonly requestId: string;
  readonly model: ResolvedModel;
  readonly prompt: Exclude<PreprocessRequest['prompt'], { case: undefined }>;
  /** Number of choices (n). */
  readonly choices: number;
  readonly sampling: Sampling;
  readonly stop: StopOptions;
  /** Alternatives at each output position; null: no log-probabilities. */
  readonly topLogprobs: number | null;
  readonly promptLogprobs: number | null;
  readonly specialTokens: boolean;
  readonly guided: Guided | null;
  /** The client's field that `guided` comes from; empty: there is none. */
  readonly guidedField: string;
  /** How answers are split into content, reasoning and calls; null: they are content. */
  readonly parsing: ParsingWishes | null;
  readonly cacheSalt: string;
  readonly priority: number;
  readonly routing: RoutingWishes;
  readonly agent: AgentFacts;
  /** Whether the rendered prompt text is wanted. */
  readonly returnPromptText: boolean;
  /** Milliseconds for the whole request; 0: no limit. */
  readonly timeoutMs: number;
  readonly traceparent: string;
  readonly tracestate: string;
}
