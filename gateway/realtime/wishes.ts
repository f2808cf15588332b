import { type ResponseWishes, type SessionUpdate, shownReasoning, type Tool, type ToolChoice } from './schema.ts';

/** How responses are made: what the session says, and for one response what it says itself. */
export interface Wishes {
  readonly instructions: string;
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  readonly parallelToolCalls: boolean | null;
  readonly maxOutputTokens: number | 'inf';
  /** Null: the engine's default. */
  readonly temperature: number | null;
  readonly effort: NonNullable<NonNullable<SessionUpdate['reasoning']>['effort']> | null;
  /** Whether the model's reasoning is told too. */
  readonly showReasoning: boolean;
}

export const noWishes: Wishes = {
  instructions: '',
  tools: [],
  toolChoice: 'auto',
  parallelToolCalls: null,
  maxOutputTokens: 'inf',
  temperature: null,
  effort: null,
  showReasoning: false,
};

/** What is said replaces what was said; what is not stays. */
export function withWishes(before: Wishes, said: SessionUpdate | ResponseWishes): Wishes {
  return {
    instructions: said.instructions ?? before.instructions,
    tools: said.tools ?? before.tools,
    toolChoice: said.tool_choice ?? before.toolChoice,
    parallelToolCalls: said.parallel_tool_calls ?? before.parallelToolCalls,
    maxOutputTokens: said.max_output_tokens ?? said.max_response_output_tokens ?? before.maxOutputTokens,
    temperature: said.temperature ?? before.temperature,
    effort: said.reasoning?.effort ?? before.effort,
    showReasoning: said.include ? said.include.includes(shownReasoning) : before.showReasoning,
  };
}
