/** An expression of GBNF, as llama.cpp reads it. */
export type Node =
  | { readonly kind: 'text'; readonly codes: readonly number[] }
  | { readonly kind: 'class'; readonly negated: boolean; readonly ranges: readonly (readonly [number, number])[] }
  | { readonly kind: 'rule'; readonly name: string }
  | { readonly kind: 'sequence'; readonly parts: readonly Node[] }
  | { readonly kind: 'choice'; readonly options: readonly Node[] }
  | { readonly kind: 'repeat'; readonly of: Node; readonly min: number; readonly max: number };

/** The rules of a grammar. Throws for what engines would not read, and where a rule is missing or defined twice. */
export function readGbnf(grammar: string): ReadonlyMap<string, Node> {
  const rules = new Map<string, Node>();
  for (const line of grammar.split('\n')) {
    const match = /^([A-Za-z0-9-]+) ::= (.*)$/.exec(line);
    if (match?.[1] === undefined || match[2] === undefined) throw new Error(`no rule: ${line}`);
    if (rules.has(match[1])) throw new Error(`rule ${match[1]} is defined twice`);
    rules.set(match[1], new Reader(match[2]).whole());
  }
  for (const node of rules.values()) check(node, rules);
  return rules;
}

function check(node: Node, rules: ReadonlyMap<string, Node>): void {
  if (node.kind === 'rule' && !rules.has(node.name)) throw new Error(`there is no rule ${node.name}`);
  if (node.kind === 'sequence') for (const part of node.parts) check(part, rules);
  if (node.kind === 'choice') for (const option of node.options) check(option, rules);
  if (node.kind === 'repeat') check(node.of, rules);
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  whole(): Node {
    const node = this.#choice();
    if (this.#at < this.#text.length) throw new Error(`unread: ${this.#text.slice(this.#at)}`);
    return node;
  }

  #choice(): Node {
    const options = [this.#sequence()];
    while (this.#take('|')) options.push(this.#sequence());
    return { kind: 'choice', options };
  }

  #sequence(): Node {
    const parts: Node[] = [];
    for (;;) {
      this.#space();
      const next = this.#text[this.#at];
      if (next === undefined || next === '|' || next === ')') return { kind: 'sequence', parts };
      parts.push(this.#repeated(this.#atom(next)));
    }
  }

  #atom(next: string): Node {
    if (next === '"') return this.#literal();
    if (next === '[') return this.#class();
    if (this.#take('(')) {
      const node = this.#choice();
      if (!this.#take(')')) throw new Error('unclosed group');
      return node;
    }
    const name = /^[A-Za-z0-9-]+/.exec(this.#text.slice(this.#at))?.[0];
    if (name === undefined) throw new Error(`unexpected ${this.#text.slice(this.#at, this.#at + 20)}`);
    this.#at += name.length;
    return { kind: 'rule', name };
  }

  #repeated(of: Node): Node {
    const match = /^(?:[*+?]|\{(\d+)(?:(,)(\d+)?)?\})/.exec(this.#text.slice(this.#at));
    if (match === null) return of;
    this.#at += match[0].length;
    const infinite = Number.POSITIVE_INFINITY;
    if (match[0] === '*') return { kind: 'repeat', of, min: 0, max: infinite };
    if (match[0] === '+') return { kind: 'repeat', of, min: 1, max: infinite };
    if (match[0] === '?') return { kind: 'repeat', of, min: 0, max: 1 };
    const min = Number(match[1]);
    return {
      kind: 'repeat',
      of,
      min,
      max: match[2] === undefined ? min : match[3] === undefined ? infinite : Number(match[3]),
    };
  }

  #literal(): Node {
    this.#at++;
    const codes: number[] = [];
    while (this.#text[this.#at] !== '"') codes.push(this.#character());
    this.#at++;
    return { kind: 'text', codes };
  }

  #class(): Node {
    this.#at++;
    const negated = this.#text[this.#at] === '^';
    if (negated) this.#at++;
    const ranges: [number, number][] = [];
    while (this.#text[this.#at] !== ']') {
      const from = this.#character();
      const isRange = this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']';
      if (isRange) this.#at++;
      ranges.push([from, isRange ? this.#character() : from]);
    }
    this.#at++;
    return { kind: 'class', negated, ranges };
  }

  #character(): number {
    const code = this.#text.codePointAt(this.#at);
    if (code === undefined) throw new Error('unclosed literal or class');
    this.#at += code > 0xffff ? 2 : 1;
    if (code !== 92) return code;
    const escaped = this.#text[this.#at++] ?? '';
    const digits = { x: 2, u: 4, U: 8 }[escaped];
    if (digits !== undefined) {
      this.#at += digits;
      return Number.parseInt(this.#text.slice(this.#at - digits, this.#at), 16);
    }
    const controls: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9 };
    if (!(escaped in controls) && !'\\"[]'.includes(escaped)) throw new Error(`unknown escape ${escaped}`);
    return controls[escaped] ?? escaped.charCodeAt(0);
  }

  #take(character: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    while (this.#text[this.#at] === ' ') this.#at++;
  }
}
