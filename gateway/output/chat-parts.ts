import type { AnswerPart, FoldedAnswer } from '../parsing/parts.ts';
import { escapeJson } from '../sse/json-escape.ts';

/** Under which names reasoning is written: DeepSeek's, vLLM's newer one, or both. */
export type ReasoningField = 'reasoning_content' | 'reasoning' | 'both';

/** The `delta` of a chat chunk, as JSON; empty for what chunks do not tell. */
export function renderDelta(part: AnswerPart, field: ReasoningField): string {
  switch (part.kind) {
    case 'content':
      return `{"content":"${escapeJson(part.text)}"}`;
    case 'reasoning':
      return `{${renderReasoning(part.text, field)}}`;
    case 'call': {
      const called = `"name":"${escapeJson(part.name)}","arguments":"${escapeJson(part.arguments)}"`;
      const id = escapeJson(part.id);
      return `{"tool_calls":[{"index":${part.index},"id":"${id}","type":"function","function":{${called}}}]}`;
    }
    case 'arguments':
      return `{"tool_calls":[{"index":${part.index},"function":{"arguments":"${escapeJson(part.arguments)}"}}]}`;
    case 'callEnd':
      return '';
  }
}

/** The `message` of a whole chat answer, as JSON. */
export function renderMessage({ content, reasoning, calls }: FoldedAnswer, field: ReasoningField): string {
  const text = content === '' && calls.length > 0 ? 'null' : `"${escapeJson(content)}"`;
  const thought = reasoning === '' ? '' : `,${renderReasoning(reasoning, field)}`;
  const called = calls.map(
    (call) =>
      `{"id":"${escapeJson(call.id)}","type":"function","function":` +
      `{"name":"${escapeJson(call.name)}","arguments":"${escapeJson(call.arguments)}"}}`,
  );
  const tools = calls.length === 0 ? '' : `,"tool_calls":[${called.join(',')}]`;
  return `{"role":"assistant","content":${text}${thought}${tools},"refusal":null}`;
}

function renderReasoning(text: string, field: ReasoningField): string {
  const escaped = escapeJson(text);
  if (field === 'both') return `"reasoning_content":"${escaped}","reasoning":"${escaped}"`;
  return `"${field}":"${escaped}"`;
}
