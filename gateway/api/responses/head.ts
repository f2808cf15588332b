import type { ResponseObject } from './answers.ts';
import { newId } from './ids.ts';
import type { InputItem, ResolvedBody, ResponsesRequestBody } from './schema.ts';
import { itemsOf } from './to-chat.ts';
import { offeredTools } from './tools.ts';

/** A response before it has any output. */
export function responseHead(body: ResolvedBody<ResponsesRequestBody>, model: string): ResponseObject {
  return {
    id: newId('resp'),
    object: 'response',
    created_at: Math.floor(Date.now() / 1000),
    completed_at: null,
    status: 'queued',
    background: body.background ?? false,
    error: null,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    max_tool_calls: null,
    model,
    output: [],
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: body.previous_response_id ?? null,
    prompt_cache_key: body.prompt_cache_key ?? null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: body.reasoning?.summary ?? null },
    safety_identifier: body.safety_identifier ?? null,
    service_tier: 'default',
    store: body.store ?? true,
    temperature: body.temperature ?? 1,
    text: { format: body.text?.format ?? { type: 'text' } },
    tool_choice: body.tool_choice ?? 'auto',
    tools: offeredTools(body.tools ?? []).map((tool) =>
      tool.type === 'custom'
        ? { ...tool, format: tool.format ?? { type: 'text' } }
        : { ...tool, strict: tool.strict ?? null },
    ),
    top_logprobs: 0,
    top_p: body.top_p ?? 1,
    truncation: 'disabled',
    usage: null,
    user: body.user ?? null,
    metadata: body.metadata ?? {},
  };
}

const prefixes = {
  function_call: 'fc',
  function_call_output: 'fco',
  custom_tool_call: 'ctc',
  custom_tool_call_output: 'ctco',
  reasoning: 'rs',
  message: 'msg',
} as const;

/** The items of a request in their full form, each with an id. */
export function storedItems(input: string | readonly InputItem[]): InputItem[] {
  return itemsOf(input).map((item): InputItem => {
    const id = item.id ?? newId(prefixes[item.type]);
    if (item.type !== 'message') return { ...item, id };
    const { role, content } = item;
    const kind = role === 'assistant' ? 'output_text' : 'input_text';
    const parts = typeof content === 'string' ? [{ type: kind, text: content } as const] : content;
    return { ...item, content: parts, id };
  });
}
