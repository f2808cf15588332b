import { StatorError } from '#lib/errors/errors.ts';
import type { InputItem } from '../api/responses/schema.ts';
import { responseToChat } from '../api/responses/to-chat.ts';
import { translateChat } from '../api/translate/chat.ts';
import type { HeaderWishes } from '../api/translate/header-wishes.ts';
import type { Job } from '../api/translate/job.ts';
import { translateInput } from '../api/translate-input.ts';
import type { GatewayContext } from '../context.ts';
import type { Item } from './conversation.ts';
import type { Wishes } from './wishes.ts';

export interface AskedResponse {
  readonly model: string;
  readonly wishes: Wishes;
  readonly items: readonly Item[];
  /** Its responses prefer one worker, which has the conversation cached. */
  readonly sessionId: string;
  readonly headers: HeaderWishes;
}

/** A response as the pipeline makes it: the answer to the items as a chat. Throws StatorError. */
export function responseJob(ctx: GatewayContext, asked: AskedResponse): Job {
  const { model, wishes, items, sessionId, headers } = asked;
  if (model === '') {
    const message = 'No model is chosen: name one by `?model=` or by `session.update` with `session.model`';
    throw StatorError.invalid('session.model', message);
  }
  if (items.length === 0 && wishes.instructions === '')
    throw StatorError.invalid('response', 'The conversation is empty: there is nothing to respond to');
  const resolved = ctx.catalog.resolve(model);
  const { maxOutputTokens } = wishes;
  const { chat, names } = responseToChat(
    {
      model,
      instructions: wishes.instructions === '' ? null : wishes.instructions,
      input: items.flatMap(inputItem),
      tools: [...wishes.tools],
      tool_choice: wishes.tools.length === 0 ? null : wishes.toolChoice,
      parallel_tool_calls: wishes.parallelToolCalls,
      max_output_tokens: maxOutputTokens === 'inf' ? null : maxOutputTokens,
      temperature: wishes.temperature,
      reasoning: wishes.effort === null ? null : { effort: wishes.effort },
      prompt_cache_key: sessionId,
      stream: true,
    },
    [],
  );
  try {
    return translateChat(chat, resolved, headers, translateInput(ctx));
  } catch (thrown) {
    throw names.inClientTerms(StatorError.from(thrown));
  }
}

/** A call that was cut short has no place in a prompt. */
function inputItem(item: Item): InputItem[] {
  if (item.type === 'function_call') {
    const { type, call_id, name, arguments: json } = item;
    return item.status === 'completed' ? [{ type, call_id, name, arguments: json }] : [];
  }
  if (item.type === 'function_call_output') return [{ type: item.type, call_id: item.call_id, output: item.output }];
  const content = item.content.map((part) =>
    part.type === 'text' ? { type: 'output_text' as const, text: part.text } : part,
  );
  return [{ type: 'message', role: item.role, content }];
}
