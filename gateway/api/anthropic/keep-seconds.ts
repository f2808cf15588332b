import { secondsOf } from '../../agents/facts.ts';
import type { MessagesRequestBody } from './schema.ts';

type Marked = {
  readonly cache_control?: { readonly ttl?: number | '5m' | '1h' | null | undefined } | null | undefined;
};

/** Bounds of a breakpoint's life in seconds, as Anthropic has them. */
const [least, most] = [300, 3600];

/**
 * Seconds that the breakpoints of a request ask to keep it cached; null: there are none. The whole prompt is kept, not only
 * what is in front of the last breakpoint.
 */
export function keepSecondsOf({ cache_control, system, tools, messages }: MessagesRequestBody): number | null {
  const marked: Marked[] = [{ cache_control }, ...(Array.isArray(system) ? system : []), ...(tools ?? [])];
  for (const { content } of messages) {
    for (const block of typeof content === 'string' ? [] : content) {
      // Reasoning has no breakpoints.
      if ('cache_control' in block) marked.push(block);
      if (block.type === 'tool_result' && Array.isArray(block.content)) marked.push(...block.content);
    }
  }
  const asked = marked.flatMap(({ cache_control: control }) => (control ? [secondsOf(control.ttl) ?? least] : []));
  return asked.length === 0 ? null : Math.min(most, Math.max(least, ...asked));
}
