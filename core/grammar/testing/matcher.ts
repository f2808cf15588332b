import { type Node, readGbnf } from './gbnf-reader.ts';

/** Tells whether texts belong to the language of a grammar: a plain reading of GBNF, to check compilers by. */
export class GbnfMatcher {
  readonly #rules: ReadonlyMap<string, Node>;
  #codes: readonly number[] = [];
  #memo = new Map<string, ReadonlySet<number>>();

  constructor(grammar: string) {
    this.#rules = readGbnf(grammar);
  }

  matches(text: string): boolean {
    this.#codes = [...text].map((character) => character.codePointAt(0) ?? 0);
    this.#memo = new Map();
    return this.#ends({ kind: 'rule', name: 'root' }, 0).has(this.#codes.length);
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
