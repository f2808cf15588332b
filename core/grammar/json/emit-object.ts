import { GrammarError } from '../error.ts';
import { oneOf, repeat } from '../gbnf.ts';
import { jsonCharacter, regexGbnf } from '../regex/gbnf.ts';
import { stringGbnf } from './emit-string.ts';
import type { Emitter } from './emitter.ts';
import { propertyOf } from './meet.ts';
import { patternRegex } from './patterns.ts';
import { jsonLiteral } from './rules.ts';
import type { ObjectShape } from './shapes.ts';

interface Member {
  readonly expression: string;
  readonly required: boolean;
}

/**
 * Objects of a shape; null: there is none. Properties come in the order in which they are named; properties that are not
 * named come only where none are.
 */
export function objectGbnf(shape: ObjectShape, emitter: Emitter): string | null {
  const { json } = emitter;
  const names = [...new Set([...shape.properties.keys(), ...shape.required])];
  if (names.length === 0) return openObject(shape, emitter);
  const members: Member[] = [];
  for (const name of names) {
    const required = shape.required.has(name);
    const value = emitter.expander.allows(shape.names, name) ? emitter.value(propertyOf(shape, name)) : null;
    if (value === null && required) return null;
    if (value !== null)
      members.push({ expression: `${jsonLiteral(name)} ${json.space} ":" ${json.space} ${value}`, required });
  }
  checkCount(shape, members);
  return `"{" ${json.space} ${memberList(members, emitter)} "}" ${json.space}`;
}

/** The number of properties cannot be watched while each may be left out. */
function checkCount({ minProperties, maxProperties, at }: ObjectShape, members: readonly Member[]): void {
  if (members.filter(({ required }) => required).length < minProperties) {
    throw new GrammarError(
      'unsupported',
      `${at}/minProperties`,
      `minProperties at ${at} asks for properties that are not required, which is not supported.`,
    );
  }
  if (maxProperties !== null && members.length > maxProperties) {
    throw new GrammarError(
      'unsupported',
      `${at}/maxProperties`,
      `maxProperties at ${at} is below the number of named properties, which is not supported.`,
    );
  }
}

/** Two rules for each property: one while nothing stands before it, one that needs a comma. */
function memberList(members: readonly Member[], { rules, json }: Emitter): string {
  let first = '""';
  let next = '""';
  for (const { expression, required } of members.toReversed()) {
    const member = rules.add(expression);
    const alone = next === '""' ? member : `${member} ${next}`;
    const after = `"," ${json.space} ${alone}`;
    first = required ? rules.add(alone) : rules.add(`${alone} | ${first}`);
    next = required ? rules.add(after) : rules.add(`${after} | ${next}`);
  }
  return first;
}

/** Objects whose properties nobody named. */
function openObject(shape: ObjectShape, emitter: Emitter): string | null {
  const { rules, json } = emitter;
  const { minProperties, maxProperties, at } = shape;
  if (minProperties > 1) {
    // A name may come twice, and twice the same is one property.
    throw new GrammarError(
      'unsupported',
      `${at}/minProperties`,
      `minProperties above 1 at ${at} needs named properties, which is not supported otherwise.`,
    );
  }
  const empty = `"{" ${json.space} "}" ${json.space}`;
  const member = openMember(shape, emitter);
  if (member === null || maxProperties === 0) return minProperties > 0 ? null : empty;
  const one = rules.add(member);
  const list = `${one} ${repeat(`"," ${json.space} ${one}`, 0, maxProperties === null ? null : maxProperties - 1)}`;
  return `"{" ${json.space} ${minProperties > 0 ? list : `(${list})?`} "}" ${json.space}`;
}

function openMember(shape: ObjectShape, emitter: Emitter): string | null {
  const { rules, json } = emitter;
  const [pattern, another] = shape.patterns;
  if (another !== undefined) {
    throw new GrammarError(
      'unsupported',
      `${shape.at}/patternProperties`,
      `Several patternProperties at ${shape.at} are not supported without named properties.`,
    );
  }
  const value = emitter.value(pattern === undefined ? (shape.additional ?? []) : pattern.of);
  if (value === null) return null;
  if (pattern !== undefined && shape.names.length > 0) {
    throw new GrammarError(
      'unsupported',
      `${shape.at}/propertyNames`,
      `propertyNames together with patternProperties at ${shape.at} is not supported.`,
    );
  }
  const name =
    pattern === undefined
      ? nameGbnf(shape, emitter)
      : `"\\"" ${rules.add(regexGbnf(patternRegex(pattern.pattern, `${shape.at}/patternProperties`), rules, jsonCharacter))} "\\""`;
  return name === null ? null : `${name} ${json.space} ":" ${json.space} ${value}`;
}

/** Names that `propertyNames` allows. */
function nameGbnf({ names }: ObjectShape, emitter: Emitter): string | null {
  const shapes = names.length === 0 ? 'any' : emitter.expander.all(names);
  if (shapes === 'any') return `"\\"" ${emitter.json.character}* "\\""`;
  const options = shapes.flatMap((shape) => {
    if (shape.type === 'literal') return typeof shape.value === 'string' ? [jsonLiteral(shape.value)] : [];
    const name = shape.type === 'string' ? stringGbnf(shape, emitter) : null;
    return name === null ? [] : [name];
  });
  return options.length === 0 ? null : oneOf(options);
}
