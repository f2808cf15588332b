import { GrammarError } from './error.ts';
import { freeText, type Marker } from './free-text.ts';
import { type GrammarOptions, oneOf, quote, RuleSet, repeat } from './gbnf.ts';
import { addJsonSchema } from './json/emitter.ts';
import { isObject } from './json/shapes.ts';
import { addGbnf } from './nested-gbnf.ts';
import { plainCharacter, regexGbnf } from './regex/gbnf.ts';
import { wholeRegex } from './regex/parse.ts';
import { addTaggedParameters, parameterStyles } from './tagged-parameters.ts';

type Format = Readonly<Record<string, unknown>>;

/** Deepest nesting of formats. */
const maxDepth = 100;

/**
 * GBNF of a structural tag, XGrammar's description of free text with constrained parts, in its present form
 * (`{"type": "structural_tag", "format": …}`) or its first (`structures` and `triggers`). Throws GrammarError.
 */
export function structuralTagGrammar(tag: unknown, options?: GrammarOptions): string {
  const rules = new RuleSet(options);
  return rules.grammar(new TagWriter(rules).format(formatOf(tag), '#/format', null, 0));
}

/** The first form, whose structures are triggered tags. */
function formatOf(tag: unknown): unknown {
  if (!isObject(tag)) throw new GrammarError('invalid', '#', 'A structural tag must be an object.');
  if ('format' in tag) return tag['format'];
  const { structures, triggers } = tag;
  if (!Array.isArray(structures)) throw new GrammarError('invalid', '#/format', 'A structural tag needs a format.');
  const tags = structures.map((structure: unknown) => {
    const { begin, schema, end } = isObject(structure) ? structure : {};
    return { type: 'tag', begin, content: { type: 'json_schema', json_schema: schema }, end };
  });
  return { type: 'triggered_tags', triggers, tags };
}

class TagWriter {
  readonly #rules: RuleSet;

  constructor(rules: RuleSet) {
    this.#rules = rules;
  }

  /** `ends`: what the format must be followed by, any of them, and which free text must stop at; null: nothing. */
  format(format: unknown, at: string, ends: readonly string[] | null, depth: number): string {
    if (!isObject(format)) throw new GrammarError('invalid', at, `The format at ${at} must be an object.`);
    if (depth > maxDepth) throw new GrammarError('unsupported', at, 'The structural tag is nested too deep.');
    const closed = (body: string): string => (ends === null ? body : `${body} ${oneOf(ends.map(quote))}`);
    switch (format['type']) {
      case 'const_string':
        return closed(quote(text(format, 'value', at)));
      case 'json_schema':
        return closed(`(${this.#schema(format, format['style'] ?? 'json', at)})`);
      case 'qwen_xml_parameter':
        return closed(`(${this.#schema(format, 'qwen_xml', at)})`);
      case 'regex':
        return closed(`(${regexGbnf(wholeRegex(text(format, 'pattern', at)), this.#rules, plainCharacter)})`);
      case 'grammar':
        return closed(addGbnf(this.#rules, text(format, 'grammar', at)));
      case 'any_text':
        return this.#anyText(format, at, ends);
      case 'sequence':
        return this.#sequence(format, at, ends, depth);
      case 'or':
        return oneOf(
          list(format, 'elements', at).map((one, i) => this.format(one, `${at}/elements/${i}`, ends, depth + 1)),
        );
      case 'tag':
        return closed(this.#tag(format, at, '', depth));
      case 'triggered_tags':
        if (ends !== null)
          throw new GrammarError('unsupported', at, `Triggered tags inside of a tag (at ${at}) are not supported.`);
        return this.#triggered(format, at, depth);
      case 'tags_with_separator':
        return closed(this.#separated(format, at, depth));
      default:
        throw new GrammarError(
          'unsupported',
          `${at}/type`,
          `The format ${JSON.stringify(format['type'])} at ${at} is not supported.`,
        );
    }
  }

  #anyText(format: Format, at: string, ends: readonly string[] | null): string {
    const excluded = 'excludes' in format ? list(format, 'excludes', at).map(String) : [];
    const markers: Marker[] = [
      ...(ends ?? []).map((end) => ({ text: end, after: '""' })),
      ...excluded.map((exclude) => ({ text: exclude, after: null })),
    ].filter(({ text: marker }) => marker !== '');
    return freeText(this.#rules, markers, ends === null || ends.includes(''));
  }

  #sequence(format: Format, at: string, ends: readonly string[] | null, depth: number): string {
    const elements = list(format, 'elements', at);
    const last = elements.length - 1;
    const parts = elements.map((element, index) => {
      const place = `${at}/elements/${index}`;
      if (index < last && isObject(element) && /^(any_text|triggered_tags)$/.test(String(element['type']))) {
        throw new GrammarError('unsupported', place, `Free text at ${place} has no end in front of what follows it.`);
      }
      return this.format(element, place, index === last ? ends : null, depth + 1);
    });
    return parts.length === 0 ? '""' : parts.join(' ');
  }

  #schema(format: Format, style: unknown, at: string): string {
    const schema = format['json_schema'];
    if (style === 'json') return addJsonSchema(this.#rules, schema);
    const tagged = typeof style === 'string' ? parameterStyles.get(style) : undefined;
    if (tagged !== undefined) return addTaggedParameters(this.#rules, schema, tagged);
    throw new GrammarError('unsupported', `${at}/style`, `The style of the schema at ${at} is not known.`);
  }

  /** A tag; `begun`: the part of its beginning that was written already. */
  #tag(format: unknown, at: string, begun: string, depth: number): string {
    if (!isObject(format)) throw new GrammarError('invalid', at, `The tag at ${at} must be an object.`);
    const begin = text(format, 'begin', at).slice(begun.length);
    const ends = Array.isArray(format['end']) ? format['end'].map(String) : [text(format, 'end', at)];
    const content = this.format(format['content'], `${at}/content`, ends, depth + 1);
    return begin === '' ? content : `${quote(begin)} ${content}`;
  }

  /** Free text in which triggers begin tags. */
  #triggered(format: Format, at: string, depth: number): string {
    const tags = list(format, 'tags', at);
    const again = format['stop_after_first'] === true ? null : this.#rules.reserve();
    const markers = list(format, 'triggers', at).map((trigger, index): Marker => {
      const begun = String(trigger);
      const options = tags.flatMap((tag, i) =>
        isObject(tag) && String(tag['begin']).startsWith(begun)
          ? [this.#tag(tag, `${at}/tags/${i}`, begun, depth + 1)]
          : [],
      );
      if (begun === '' || options.length === 0) {
        throw new GrammarError(
          'invalid',
          `${at}/triggers/${index}`,
          `No tag begins with the trigger at ${at}/triggers/${index}.`,
        );
      }
      return { text: begun, after: again === null ? oneOf(options) : `${oneOf(options)} ${again}` };
    });
    const excludes = 'excludes' in format ? list(format, 'excludes', at) : [];
    const watched = [...markers, ...excludes.map((exclude): Marker => ({ text: String(exclude), after: null }))];
    if (again !== null) this.#rules.define(again, freeText(this.#rules, watched, true));
    if (again !== null && format['at_least_one'] !== true) return again;
    return freeText(this.#rules, watched, format['at_least_one'] !== true);
  }

  #separated(format: Format, at: string, depth: number): string {
    const tags = list(format, 'tags', at).map((tag, index) => this.#tag(tag, `${at}/tags/${index}`, '', depth + 1));
    const one = this.#rules.add(oneOf(tags));
    const more = format['stop_after_first'] === true ? 0 : null;
    const all = `${one} ${repeat(`${quote(text(format, 'separator', at))} ${one}`, 0, more)}`;
    return format['at_least_one'] === true ? `(${all})` : `(${all})?`;
  }
}

function text(format: Format, key: string, at: string): string {
  const value = format[key];
  if (typeof value === 'string') return value;
  throw new GrammarError('invalid', `${at}/${key}`, `${key} at ${at} must be text.`);
}

function list(format: Format, key: string, at: string): readonly unknown[] {
  const value = format[key];
  if (Array.isArray(value) && value.length > 0) return value;
  throw new GrammarError('invalid', `${at}/${key}`, `${key} at ${at} must be a list that is not empty.`);
}
