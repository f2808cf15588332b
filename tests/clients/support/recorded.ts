import { readFile } from 'node:fs/promises';
import { inProject } from '../../../scripts/support/project.ts';

/** A request as a coding agent sends it; its model is called MODEL. */
export interface Recorded {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

export async function recorded(file: string, model: string): Promise<Recorded> {
  const text = await readFile(inProject(`tests/fixtures/clients/${file}.json`), 'utf8');
  return JSON.parse(text.replaceAll('"MODEL"', JSON.stringify(model))) as Recorded;
}

export interface Replayed {
  readonly status: number;
  readonly text: string;
  /** Events of a stream, or the kinds of a chat's deltas; neighbours of a kind are one. */
  readonly events: readonly string[];
}

/** Sends a request as it was recorded; `changes` of its body bound what a real model says. */
export async function replay(url: string, request: Recorded, changes: object = {}): Promise<Replayed> {
  const response = await fetch(url + request.path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...request.headers },
    body: JSON.stringify({ ...request.body, ...changes }),
  });
  const text = await response.text();
  const events = [...text.matchAll(/^data: (\{.*)$/gm)].flatMap(([, json]) => kindsOf(JSON.parse(json ?? '') as Frame));
  return { status: response.status, text, events: events.filter((kind, index) => kind !== events[index - 1]) };
}

interface Frame {
  readonly type?: string;
  readonly delta?: { readonly type?: string };
  readonly choices?: readonly {
    readonly delta: Readonly<Record<string, unknown>>;
    readonly finish_reason: string | null;
  }[];
}

function kindsOf({ type, delta, choices }: Frame): string[] {
  if (type !== undefined) return [delta?.type ?? type.replace('response.', '')];
  const [choice] = choices ?? [];
  if (choice === undefined) return ['usage'];
  const told = ['reasoning_content', 'content', 'tool_calls'].filter((key) => choice.delta[key]);
  return choice.finish_reason === null ? told : [...told, choice.finish_reason];
}
