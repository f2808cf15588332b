import { type Node, readGbnf } from './gbnf-reader.ts';

/** Steps after which a text is brought to its end by the shortest way. */
const longText = 400;

/** What values of other types than strings begin with, and what ends them. */
const telling = '0123456789-nNtTfF{["(< \n';

/** Writes texts of a grammar's language, as a model without any sense would. */
export class GbnfSampler {
  readonly #rules: ReadonlyMap<string, Node>;
  readonly #costs = new Map<string, number>();
  readonly #random: () => number;
  #steps = 0;

  constructor(grammar: string, random: () => number) {
    this.#rules = readGbnf(grammar);
    this.#random = random;
    for (let changed = true; changed; ) {
      changed = false;
      for (const [name, node] of this.#rules) {
        const cost = this.#cost(node) + 1;
        if (cost >= (this.#costs.get(name) ?? Number.POSITIVE_INFINITY)) continue;
        this.#costs.set(name, cost);
        changed = true;
      }
    }
  }

  sample(): string {
    this.#steps = 0;
    const out: string[] = [];
    // The nodes yet to be written, the next one last: texts may be longer than the stack is deep.
    const left: Node[] = [{ kind: 'rule', name: 'root' }];
    for (let node = left.pop(); node !== undefined; node = left.pop()) this.#write(node, out, left);
    return out.join('');
  }

  #write(node: Node, out: string[], left: Node[]): void {
    this.#steps++;
    switch (node.kind) {
      case 'text':
        out.push(String.fromCodePoint(...node.codes));
        return;
      case 'class':
        out.push(String.fromCodePoint(this.#character(node)));
        return;
      case 'rule':
        left.push(this.#rules.get(node.name) ?? { kind: 'choice', options: [] });
        return;
      case 'sequence':
        left.push(...node.parts.toReversed());
        return;
      case 'choice':
        left.push(this.#option(node.options));
        return;
      case 'repeat':
        left.push(...Array.from({ length: this.#count(node) }, () => node.of));
    }
  }

  #option(options: readonly Node[]): Node {
    const possible = options.filter((option) => this.#cost(option) < Number.POSITIVE_INFINITY);
    const least = Math.min(...possible.map((option) => this.#cost(option)));
    const some = this.#steps > longText ? possible.filter((option) => this.#cost(option) === least) : possible;
    const picked = some[Math.floor(this.#random() * some.length)];
    if (picked === undefined) throw new Error('nothing can be written here');
    return picked;
  }

  #count({ min, max }: Node & { kind: 'repeat' }): number {
    let count = min;
    while (count < max && this.#steps <= longText && this.#random() < 0.6) count++;
    return count;
  }

  #character({ negated, ranges }: Node & { kind: 'class' }): number {
    const has = (code: number): boolean => ranges.some(([from, to]) => code >= from && code <= to) !== negated;
    for (let tries = 0; tries < 200; tries++) {
      const odd = telling.charCodeAt(Math.floor(this.#random() * telling.length));
      if (tries === 0 && this.#random() < 0.3 && has(odd)) return odd;
      const printable = 0x20 + Math.floor(this.#random() * 0x5f);
      if (tries < 4 && has(printable)) return printable;
      const [from, to] = negated ? [0, 0x2fff] : (ranges[Math.floor(this.#random() * ranges.length)] ?? [0, 0]);
      const code = from + Math.floor(this.#random() * (to - from + 1));
      if (has(code) && (code < 0xd800 || code > 0xdfff)) return code;
    }
    throw new Error('a class without characters');
  }

  #cost(node: Node): number {
    switch (node.kind) {
      case 'text':
      case 'class':
        return 1;
      case 'rule':
        return this.#costs.get(node.name) ?? Number.POSITIVE_INFINITY;
      case 'sequence':
        return node.parts.reduce((sum, part) => sum + this.#cost(part), 0);
      case 'choice':
        return Math.min(...node.options.map((option) => this.#cost(option)));
      case 'repeat':
        return node.min === 0 ? 0 : node.min * this.#cost(node.of);
    }
  }
}
