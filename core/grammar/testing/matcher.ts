/** An expression of GBNF, as llama.cpp reads it. */
type Node =
  | { readonly kind: 'text'; readonly codes: readonly number[] }
  | { readonly kind: 'class'; readonly negated: boolean; readonly ranges: readonly (readonly [number, number])[] }
  | { readonly kind: 'rule'; readonly name: string }
  | { readonly kind: 'sequence'; readonly parts: readonly Node[] }
  | { readonly kind: 'choice'; readonly options: readonly Node[] }
  | { readonly kind: 'repeat'; readonly of: Node; readonly min: number; readonly max: number };

/** Tells whether texts belong to the language of a grammar: a plain reading of GBNF, to check compilers by. */
export class GbnfMatcher {
  readonly #rules = new Map<string, Node>();
  #codes: readonly number[] = [];
  #memo = new Map<string, ReadonlySet<number>>();

  constructor(grammar: string) {
    for (const line of grammar.split('\n')) {
      const match = /^([A-Za-z0-9-]+) ::= (.*)$/.exec(line);
      if (match?.[1] === undefined || match[2] === undefined) throw new Error(`no rule: ${line}`);
      if (this.#rules.has(match[1])) throw new Error(`rule ${match[1]} is defined twice`);
      this.#rules.set(match[1], new Reader(match[2]).whole());
    }
    for (const node of this.#rules.values()) this.#check(node);
  }

  matches(text: string): boolean {
    this.#codes = [...text].map((character) => character.codePointAt(0) ?? 0);
    this.#memo = new Map();
    return this.#ends({ kind: 'rule', name: 'root' }, 0).has(this.#codes.length);
  }

  /** Every rule that is named must be there. */
  #check(node: Node): void {
    if (node.kind === 'rule' && !this.#rules.has(node.name)) throw new Error(`there is no rule ${node.name}`);
    if (node.kind === 'sequence') for (const part of node.parts) this.#check(part);
    if (node.kind === 'choice') for (const option of node.options) this.#check(option);
    if (node.kind === 'repeat') this.#check(node.of);
  }

  #ends(node: Node, at: number): ReadonlySet<number> {
    switch (node.kind) {
      case 'text':
        return new Set(
          node.codes.every((code, index) => this.#codes[at + index] === code) ? [at + node.codes.length] : [],
        );
      case 'class': {
        const code = this.#codes[at];
        if (code === undefined) return new Set();
        const inside = node.ranges.some(([from, to]) => code >= from && code <= to);
        return new Set(inside !== node.negated ? [at + 1] : []);
      }
      case 'rule':
        return this.#rule(node.name, at);
      case 'sequence': {
        let ends: ReadonlySet<number> = new Set([at]);
        for (const part of node.parts) ends = new Set([...ends].flatMap((end) => [...this.#ends(part, end)]));
        return ends;
      }
      case 'choice':
        return new Set(node.options.flatMap((option) => [...this.#ends(option, at)]));
      case 'repeat':
        return this.#repeat(node, at);
    }
  }

  #rule(name: string, at: number): ReadonlySet<number> {
    const key = `${name} ${at}`;
    const known = this.#memo.get(key);
    if (known !== undefined) return known;
    // An engine would try a rule that begins with itself for ever.
    this.#memo.set(key, new Set());
    const ends = this.#ends(this.#rules.get(name) ?? { kind: 'choice', options: [] }, at);
    this.#memo.set(key, ends);
    return ends;
  }

  #repeat({ of, min, max }: Node & { kind: 'repeat' }, at: number): ReadonlySet<number> {
    let ends: ReadonlySet<number> = new Set([at]);
    const all = new Set<number>(min === 0 ? [at] : []);
    for (let count = 1; count <= max && ends.size > 0; count++) {
      ends = new Set([...ends].flatMap((end) => [...this.#ends(of, end)]));
      if (count < min) continue;
      const before = all.size;
      for (const end of ends) all.add(end);
      if (all.size === before) break;
    }
    return all;
  }
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
