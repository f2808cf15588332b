import { GrammarError } from '../error.ts';
import { oneOf, repeat } from '../gbnf.ts';
import { stringGbnf } from './emit-string.ts';
import type { Emitter } from './emitter.ts';
import { propertyOf } from './meet.ts';
import type { MemberStyle } from './notation.ts';
import { patternRegex } from './patterns.ts';
import type { ObjectShape } from './shapes.ts';

interface Member {
  readonly expression: string;
  readonly required: boolean;
}

/** Objects of a shape, in braces; null: there is none. */
export function objectGbnf(shape: ObjectShape, emitter: Emitter): string | null {
  const { space, ...notation } = emitter.notation;
  const members = membersGbnf(shape, emitter, { ...notation, between: `":" ${space}` });
  return members === null ? null : `"{" ${space} ${members} "}"`;
}

/**
 * The members of objects of a shape; null: there is no such object. Properties come in the order in which they are named;
 * properties that are not named come only where none are.
 */
export function membersGbnf(shape: ObjectShape, emitter: Emitter, style: MemberStyle): string | null {
  const names = [...new Set([...shape.properties.keys(), ...shape.required])];
  if (names.length === 0) return openMembers(shape, emitter, style);
  const members: Member[] = [];
  for (const name of names) {
    const required = shape.required.has(name);
    const value = emitter.expander.allows(shape.names, name) ? emitter.value(propertyOf(shape, name)) : null;
    if (value === null && required) return null;
    if (value !== null)
      members.push({ expression: `${style.key(name, shape.at)} ${style.between} ${value}`, required });
  }
  checkCount(shape, members);
  return memberList(members, emitter);
}

/** The number of properties cannot be watched while each may be left out. */
export function checkCount(
  { minProperties, maxProperties, at }: ObjectShape,
  members: readonly { readonly required: boolean }[],
): void {
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
function memberList(members: readonly Member[], { rules, notation }: Emitter): string {
  let first = '""';
  let next = '""';
  for (const { expression, required } of members.toReversed()) {
    const member = rules.add(expression);
    const alone = next === '""' ? member : `${member} ${next}`;
    const after = `"," ${notation.space} ${alone}`;
    first = required ? rules.add(alone) : rules.add(`${alone} | ${first}`);
    next = required ? rules.add(after) : rules.add(`${after} | ${next}`);
  }
  return first;
}

/** Members that nobody named. */
function openMembers(shape: ObjectShape, emitter: Emitter, style: MemberStyle): string | null {
  const { rules, notation } = emitter;
  const { minProperties, maxProperties, at } = shape;
  if (minProperties > 1) {
    // A name may come twice, and twice the same is one property.
    throw new GrammarError(
      'unsupported',
      `${at}/minProperties`,
      `minProperties above 1 at ${at} needs named properties, which is not supported otherwise.`,
    );
  }
  const member = openMember(shape, emitter, style);
  if (member === null || maxProperties === 0) return minProperties > 0 ? null : '""';
  const one = rules.add(member);
  const more = repeat(`"," ${notation.space} ${one}`, 0, maxProperties === null ? null : maxProperties - 1);
  return minProperties > 0 ? `${one} ${more}` : `(${one} ${more})?`;
}

function openMember(shape: ObjectShape, emitter: Emitter, style: MemberStyle): string | null {
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
  const place = `${shape.at}/patternProperties`;
  const name =
    pattern === undefined
      ? nameGbnf(shape, emitter, style)
      : style.matching(patternRegex(pattern.pattern, place), place);
  return name === null ? null : `${name} ${style.between} ${value}`;
}

/** Names that `propertyNames` allows. */
function nameGbnf({ names, at }: ObjectShape, emitter: Emitter, style: MemberStyle): string | null {
  const shapes = names.length === 0 ? 'any' : emitter.expander.all(names);
  if (shapes === 'any') return style.anyKey;
  const options = shapes.flatMap((shape) => {
    if (shape.type === 'literal') return typeof shape.value === 'string' ? [style.key(shape.value, at)] : [];
    const name = shape.type === 'string' ? stringGbnf(shape, style) : null;
    return name === null ? [] : [name];
  });
  return options.length === 0 ? null : oneOf(options);
}
