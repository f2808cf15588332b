import type { Logger } from 'pino';
import type { TemplateCache } from '#core/chat/render.ts';
import type { HashBlocks } from '#core/tokens/block-hash.ts';
import type { Gate } from './gate.ts';
import type { TokenizerMetrics } from './metrics.ts';
import type { Models } from './models/models.ts';

/** What a handler may use. */
export interface TokenizerContext {
  readonly models: Models;
  readonly templates: TemplateCache;
  readonly gate: Gate;
  readonly hashBlocks: HashBlocks;
  readonly metrics: TokenizerMetrics;
  readonly log: Logger;
  /** Largest text of one request, in characters. */
  readonly maxTextLength: number;
  readonly maxRenderMs: number;
  readonly wallClock: () => Date;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}
