import type { ChatRequestBody } from '../schemas/chat.ts';

/** Asks for reasoning as the content of an answer that has no other. */
const fillsContent = 'force_nonempty_content';

export function fillsContentOf(body: ChatRequestBody): boolean {
  return { ...body.chat_template_kwargs, ...body.chat_template_args }[fillsContent] === true;
}

type TemplateArgs = Record<string, unknown>;

/** Whether the model is to think; null: the template's default, `adaptive`: the model's own choice. */
type Decision = boolean | 'adaptive' | null;

function decide(body: ChatRequestBody, args: TemplateArgs): Decision {
  if (typeof body.thinking === 'boolean') return body.thinking;
  if (body.thinking) return body.thinking.type === 'adaptive' ? 'adaptive' : body.thinking.type === 'enabled';
  for (const key of ['thinking', 'enable_thinking']) if (typeof args[key] === 'boolean') return args[key];
  const mode = args['thinking_mode'];
  if (typeof mode === 'string') return mode === 'adaptive' ? 'adaptive' : mode === 'thinking' || mode === 'enabled';
  return body.reasoning_effort ? body.reasoning_effort !== 'none' : null;
}

/** Whether the request decides that the model thinks; null: the template or the model does. */
export function thinkingOf(body: ChatRequestBody): boolean | null {
  const decision = decide(body, { ...body.chat_template_kwargs, ...body.chat_template_args });
  return decision === 'adaptive' ? null : decision;
}

/**
 * The variables of the template with one consistent answer to "does the model think", whichever of the many ways of saying
 * so was used: `thinking`, then booleans in the template arguments, then `thinking_mode`, then `reasoning_effort`.
 */
export function templateArgsOf(body: ChatRequestBody): TemplateArgs {
  const args: TemplateArgs = { ...body.chat_template_kwargs, ...body.chat_template_args };
  // What the gateway does with the answer is no business of the template's.
  delete args[fillsContent];
  if (body.reasoning_effort) args['reasoning_effort'] ??= body.reasoning_effort;
  const decision = decide(body, args);
  if (decision === null) return args;
  if (decision === 'adaptive') {
    delete args['thinking'];
    delete args['enable_thinking'];
    return { ...args, thinking_mode: 'adaptive' };
  }
  return { ...args, thinking: decision, enable_thinking: decision, thinking_mode: decision ? 'thinking' : 'chat' };
}
