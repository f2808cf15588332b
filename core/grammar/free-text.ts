import { allCodePoints, codePointsOf, without } from './code-points.ts';
import { characterClass, quote, type RuleSet } from './gbnf.ts';

/** A state of the automaton that watches for markers (Aho and Corasick, 1975): the longest beginning of one that the text ends with. */
interface State {
  readonly rule: string;
  readonly next: Map<string, State>;
  fail: State | null;
  /** Index of the marker that is complete here; -1: none. */
  marker: number;
}

/** A text that free text is watched for. */
export interface Marker {
  readonly text: string;
  /** What follows it; null: it must not come. */
  readonly after: string | null;
}

/**
 * Text up to the first of `markers`, which it ends with, and what follows that one. `mayEnd`: the text may also end without
 * a marker. One rule for each beginning of a marker.
 */
export function freeText(rules: RuleSet, markers: readonly Marker[], mayEnd: boolean): string {
  return watchText(rules, markers, mayEnd)('');
}

/** The same, as what goes on after a character that was written already; after none, the whole. */
export function watchText(rules: RuleSet, markers: readonly Marker[], mayEnd: boolean): (character: string) => string {
  const texts = markers.map(({ text }) => text);
  const { root, states } = buildStates(rules, texts);
  const alphabet = [...new Set(texts.join(''))];
  const isForbidden = (state: State): boolean => markers[completed(state)]?.after === null;
  for (const state of states) {
    const marker = markers[completed(state)];
    if (marker === undefined) rules.define(state.rule, transitions(state, root, { alphabet, mayEnd, isForbidden }));
    else if (marker.after !== null) rules.define(state.rule, marker.after);
  }
  return (character) => (character === '' ? root : advance(root, character)).rule;
}

interface Watch {
  /** Characters of all markers. */
  readonly alphabet: readonly string[];
  readonly mayEnd: boolean;
  readonly isForbidden: (state: State) => boolean;
}

function transitions(state: State, root: State, { alphabet, mayEnd, isForbidden }: Watch): string {
  const options: string[] = [];
  for (const character of alphabet) {
    const next = advance(state, character);
    if (next !== root && !isForbidden(next)) options.push(`${quote(character)} ${next.rule}`);
  }
  const others = alphabet.filter((character) => advance(state, character) !== root);
  const rest = characterClass(without(allCodePoints, codePointsOf(others.join(''))));
  if (rest !== null) options.push(`${rest} ${root.rule}`);
  if (mayEnd) options.push('""');
  return options.join(' | ');
}

function completed(state: State): number {
  for (let at: State | null = state; at !== null; at = at.fail) if (at.marker >= 0) return at.marker;
  return -1;
}

function advance(from: State, character: string): State {
  for (let state = from; ; ) {
    const next = state.next.get(character);
    if (next !== undefined) return next;
    if (state.fail === null) return state;
    state = state.fail;
  }
}

function buildStates(rules: RuleSet, markers: readonly string[]): { root: State; states: readonly State[] } {
  const create = (): State => ({ rule: rules.reserve(), next: new Map(), fail: null, marker: -1 });
  const root = create();
  const states = [root];
  for (const [index, marker] of markers.entries()) {
    let state = root;
    for (const character of marker) {
      let next = state.next.get(character);
      if (next === undefined) {
        next = create();
        state.next.set(character, next);
        states.push(next);
      }
      state = next;
    }
    if (state.marker < 0) state.marker = index;
  }
  link(root);
  return { root, states };
}

function link(root: State): void {
  const queue = [root];
  for (const state of queue) {
    for (const [character, next] of state.next) {
      next.fail = state.fail === null ? root : advance(state.fail, character);
      queue.push(next);
    }
  }
}
