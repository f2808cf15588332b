import { allCodePoints, codePointsOf, without } from '../code-points.ts';
import { GrammarError } from '../error.ts';
import { watchText } from '../free-text.ts';
import { characterClass, oneOf, quote, RuleSet } from '../gbnf.ts';
import type { MemberStyle, Notation } from '../json/notation.ts';
import { argumentMembers } from './object-arguments.ts';
import { pythonNotation } from './python-notation.ts';
import { type CallTool, callSchema, maxCallWork } from './tool.ts';

const marker = '<|python_start|>';
const endMarker = '<|python_end|>';
const gaps = ' \t\n\v\f\r';
/** What the parser takes for a name. */
const word = /^[A-Za-z_][\w.-]*$/;

/** GBNF of a list of calls in Python and nothing else: `[f(a=1), g()]`. Throws GrammarError. */
export function pythonicList(tools: readonly CallTool[], parallel: boolean): string {
  const rules = new RuleSet({ maxWork: maxCallWork });
  return rules.grammar(`"[" ${new CallList(rules, tools, parallel).any} "]"`);
}

/**
 * GBNF of answers that are text, or begin with a list of calls, or hold one behind its marker. What begins as a tool's call
 * in a list does must be one. Throws GrammarError.
 */
export function pythonicText(tools: readonly CallTool[], parallel: boolean): string {
  const rules = new RuleSet({ maxWork: maxCallWork });
  return rules.grammar(new TextWriter(rules, new CallList(rules, tools, parallel), parallel).answer(tools));
}

const gapClass = '[ \\t\\n\\u000b\\u000c\\r]';

/** Text whose beginning is watched for a list of calls, which white space may stand in as the parser allows it. */
class TextWriter {
  readonly #rules: RuleSet;
  readonly #list: CallList;
  /** What an answer is, or what is left of it behind a list. */
  readonly #again: string;
  /** What follows a list. */
  readonly #next: string;
  readonly #text: (begun: string) => string;

  constructor(rules: RuleSet, list: CallList, parallel: boolean) {
    this.#rules = rules;
    this.#list = list;
    this.#again = rules.reserve();
    this.#next = parallel ? this.#again : '""';
    const marked = `${gapClass}{0,4} "[" ${list.any} "]" ${quote(endMarker)}? ${this.#next}`;
    this.#text = watchText(rules, [{ text: marker, after: marked }], true);
  }

  answer(tools: readonly CallTool[]): string {
    const opened = this.#rules.reserve();
    this.#define(opened, this.#after(nameTree(tools.map(({ name }) => name))), opened);
    this.#define(this.#again, [['[', opened]], this.#again);
    return this.#again;
  }

  /** Rules for what follows a beginning of names, by its next character. */
  #after(node: NameNode): [string, string][] {
    return [...node.next].map(([character, child]) => {
      const rule = this.#rules.reserve();
      const options = this.#after(child);
      if (child.name === null) this.#define(rule, options, null);
      else {
        const called: [string, string] = ['(', `${this.#list.called(child.name)} ${this.#list.rest} "]" ${this.#next}`];
        const spaced = this.#rules.reserve();
        this.#define(spaced, [called], spaced);
        this.#define(rule, [...options, called], spaced);
      }
      return [character, rule];
    });
  }

  /** Some characters lead on, white space too unless `gap` is null; any other makes it text. */
  #define(rule: string, options: readonly (readonly [string, string])[], gap: string | null): void {
    const written = options.map(([character, to]) => `${quote(character)} ${to}`);
    if (gap !== null) written.push(`${gapClass} ${gap}`);
    const used = options.map(([character]) => character).join('') + (gap === null ? '' : gaps);
    const others = characterClass(without(allCodePoints, codePointsOf(`${used}<`)));
    const text = [`${others} ${this.#text('')}`, `"<" ${this.#text('<')}`, '""'];
    this.#rules.define(rule, [...written, ...text].join(' | '));
  }
}

/** Calls in a list, without its brackets. */
class CallList {
  /** One or several. */
  readonly any: string;
  /** More of them behind one. */
  readonly rest: string;
  readonly #bodies: ReadonlyMap<string, string>;

  constructor(rules: RuleSet, tools: readonly CallTool[], parallel: boolean) {
    const notation = pythonNotation(rules);
    this.#bodies = new Map(tools.map((tool) => [tool.name, body(tool, rules, notation)]));
    const one = rules.add(oneOf([...this.#bodies].map(([name, rest]) => `${quote(`${name}(`)} ${rest}`)));
    this.rest = parallel ? rules.add(`("," [ \\n]? ${one})*`) : '""';
    this.any = `${one} ${this.rest}`;
  }

  /** What follows a function's name and its opening parenthesis. */
  called(name: string): string {
    return this.#bodies.get(name) ?? '""';
  }
}

function body(tool: CallTool, rules: RuleSet, notation: Notation): string {
  if (!word.test(tool.name)) throw new GrammarError('unsupported', '#', `${tool.name} is no name of a function.`);
  return rules.add(`${argumentMembers(rules, callSchema(tool), notation, keywordArguments)} ")"`);
}

/** `name=value`; names are words. */
const keywordArguments: MemberStyle = {
  between: '"="',
  key: (name, at) => (word.test(name) ? quote(name) : noWord(at)),
  anyKey: '[A-Za-z_] [A-Za-z0-9_]{0,63}',
  string: () => noWord('#'),
  matching: (_regex, at) => noWord(at),
};

function noWord(at: string): never {
  throw new GrammarError('unsupported', at, `A name at ${at} cannot be that of an argument in Python.`);
}

/** Beginnings of names, by their characters. */
interface NameNode {
  readonly next: Map<string, NameNode>;
  /** The name that is complete here; null: none. */
  name: string | null;
}

function nameTree(names: readonly string[]): NameNode {
  const root: NameNode = { next: new Map(), name: null };
  for (const name of names) {
    let node = root;
    for (const character of name) {
      const child = node.next.get(character) ?? { next: new Map(), name: null };
      node.next.set(character, child);
      node = child;
    }
    node.name = name;
  }
  return root;
}
