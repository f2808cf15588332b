import type { AnswerPlan } from '../api/translate/job.ts';
import type { PreparedPrompt } from '../pipeline/prepare.ts';
import { escapeJson } from '../sse/json-escape.ts';
import { type RoutedPrompt, renderRouting } from './routing.ts';

/** The events that annotations ask for, in front of the first chunk of a prompt's answer. */
export function renderAnnotations(
  plan: AnswerPlan,
  requestId: string,
  prompt: PreparedPrompt,
  routed: RoutedPrompt,
): string {
  let out = '';
  const names: readonly string[] = plan.annotations;
  for (const name of names) {
    if (name === 'request_id') out += event(name, `"${escapeJson(requestId)}"`);
    if (name === 'token_ids') out += event(name, `[${prompt.tokenIds.join(',')}]`);
    if (name === 'formatted_prompt') out += event(name, `"${escapeJson(prompt.text)}"`);
    if (name === 'routing') out += event(name, renderRouting(requestId, prompt, routed));
  }
  return out;
}

function event(name: string, data: string): string {
  return `event: ${name}\ndata: ${data}\n\n`;
}
