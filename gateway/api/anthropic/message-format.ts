import { createHash } from 'node:crypto';
import type { StatorError } from '#lib/errors/errors.ts';
import { renderAnthropicError } from '../../http/error-body.ts';
import type { EventFormat } from '../../output/event-answer.ts';
import { usageOf } from '../../output/usage.ts';
import { type AnsweredCall, type AnswerPart, foldParts } from '../../parsing/parts.ts';
import type { Choice } from '../../pipeline/choice.ts';
import type { Generation } from '../../pipeline/generation.ts';
import { escapeJson } from '../../sse/json-escape.ts';
import { finishedMembers } from './finished-members.ts';

/** What an answer begins with. */
export interface MessageHead {
  readonly id: string;
  /** Primary name of the model. */
  readonly model: string;
  /** For errors in the stream. */
  readonly requestId: string;
}

/** Says who thought; clients send it back with the thought, and nobody checks it. */
function signatureOf(thinking: string): string {
  return createHash('sha256').update(thinking).digest('base64');
}

function renderUsage(generation: Generation): string {
  const { promptTokens, outputTokens, cachedTokens } = usageOf([generation]);
  return (
    `{"input_tokens":${promptTokens - cachedTokens},"cache_creation_input_tokens":0,` +
    `"cache_read_input_tokens":${cachedTokens},"output_tokens":${outputTokens}}`
  );
}

/** `stop_reason` and `stop_sequence`. */
function stopOf(choice: Choice): string {
  const sequence = choice.finish?.stopString ?? null;
  switch (choice.finishReason) {
    case 'length':
      return '"stop_reason":"max_tokens","stop_sequence":null';
    case 'tool_calls':
      return '"stop_reason":"tool_use","stop_sequence":null';
    case 'stop':
      return sequence === null
        ? '"stop_reason":"end_turn","stop_sequence":null'
        : `"stop_reason":"stop_sequence","stop_sequence":"${escapeJson(sequence)}"`;
  }
}

function renderHead({ id, model }: MessageHead, content: string): string {
  return `"id":"${id}","type":"message","role":"assistant","model":"${escapeJson(model)}","content":[${content}]`;
}

/** The whole answer, as JSON. */
export function renderMessage(head: MessageHead, generation: Generation, choice: Choice): string {
  const blocks = blocksOf(choice.takeParts());
  return `{${renderHead(head, blocks.join(','))},${stopOf(choice)},"usage":${renderUsage(generation)}}`;
}

/** Neighbouring parts of a kind are one block. */
function blocksOf(parts: readonly AnswerPart[]): string[] {
  const blocks: string[] = [];
  let run: AnswerPart[] = [];
  const close = (): void => {
    const { content, reasoning, calls } = foldParts(run);
    if (reasoning !== '') blocks.push(thinkingBlock(reasoning));
    else if (content !== '') blocks.push(`{"type":"text","text":"${escapeJson(content)}","citations":null}`);
    for (const call of calls) blocks.push(toolBlock(call));
    run = [];
  };
  for (const part of parts) {
    const [first] = run;
    if (first !== undefined && (part.kind === 'call' || groupOf(part) !== groupOf(first))) close();
    run.push(part);
  }
  close();
  return blocks;
}

function groupOf({ kind }: AnswerPart): 'content' | 'reasoning' | 'call' {
  return kind === 'content' || kind === 'reasoning' ? kind : 'call';
}

function thinkingBlock(thinking: string): string {
  return `{"type":"thinking","thinking":"${escapeJson(thinking)}","signature":"${signatureOf(thinking)}"}`;
}

function toolBlock({ id, name, arguments: json, complete }: AnsweredCall): string {
  const input = complete && isObject(json) ? json : finishedMembers(json);
  return `{"type":"tool_use","id":"${escapeJson(id)}","name":"${escapeJson(name)}","input":${input}}`;
}

function isObject(json: string): boolean {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** The events of a streamed answer. */
export class MessageFormat implements EventFormat {
  readonly keepAlive = 'event: ping\ndata: {"type":"ping"}\n\n';
  readonly #head: MessageHead;
  #index = -1;
  /** The block that is open. */
  #open: 'content' | 'reasoning' | 'call' | null = null;
  #thinking = '';

  constructor(head: MessageHead) {
    this.#head = head;
  }

  open(generation: Generation): string {
    const { promptTokens, cachedTokens } = usageOf([generation]);
    const usage =
      `{"input_tokens":${promptTokens - cachedTokens},"cache_creation_input_tokens":0,` +
      `"cache_read_input_tokens":${cachedTokens},"output_tokens":0}`;
    const message = `{${renderHead(this.#head, '')},"stop_reason":null,"stop_sequence":null,"usage":${usage}}`;
    return event('message_start', `"message":${message}`) + this.keepAlive;
  }

  part(part: AnswerPart): string {
    switch (part.kind) {
      case 'content':
        return this.#begin('content', '"type":"text","text":"","citations":null') + this.#text(part.text);
      case 'reasoning':
        return this.#begin('reasoning', '"type":"thinking","thinking":"","signature":""') + this.#thought(part.text);
      case 'call': {
        const block = `"type":"tool_use","id":"${escapeJson(part.id)}","name":"${escapeJson(part.name)}","input":{}`;
        return this.#end() + this.#begin('call', block) + this.#json(part.arguments);
      }
      case 'arguments':
        return this.#json(part.arguments);
      case 'callEnd':
        return this.#end();
    }
  }

  close(generation: Generation, choice: Choice): string {
    return (
      this.#end() +
      event('message_delta', `"delta":{${stopOf(choice)}},"usage":${renderUsage(generation)}`) +
      event('message_stop', '')
    );
  }

  fail(error: StatorError): string {
    return `event: error\ndata: ${renderAnthropicError(error, this.#head.requestId)}\n\n`;
  }

  /** Opens a block unless one of its kind is open. */
  #begin(kind: 'content' | 'reasoning' | 'call', block: string): string {
    if (this.#open === kind) return '';
    const ended = this.#end();
    this.#open = kind;
    this.#index += 1;
    return ended + event('content_block_start', `"index":${this.#index},"content_block":{${block}}`);
  }

  #end(): string {
    if (this.#open === null) return '';
    const signature =
      this.#open === 'reasoning'
        ? this.#delta(`"type":"signature_delta","signature":"${signatureOf(this.#thinking)}"`)
        : '';
    this.#open = null;
    this.#thinking = '';
    return signature + event('content_block_stop', `"index":${this.#index}`);
  }

  #text(text: string): string {
    return this.#delta(`"type":"text_delta","text":"${escapeJson(text)}"`);
  }

  #thought(text: string): string {
    this.#thinking += text;
    return this.#delta(`"type":"thinking_delta","thinking":"${escapeJson(text)}"`);
  }

  #json(json: string): string {
    return json === '' ? '' : this.#delta(`"type":"input_json_delta","partial_json":"${escapeJson(json)}"`);
  }

  #delta(delta: string): string {
    return event('content_block_delta', `"index":${this.#index},"delta":{${delta}}`);
  }
}

function event(name: string, fields: string): string {
  return `event: ${name}\ndata: {"type":"${name}"${fields === '' ? '' : `,${fields}`}}\n\n`;
}
