import type { Input, Step } from './input.ts';
import { maxWithheld, type Write } from './read.ts';

const maxDepth = 500;
const number = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

type State = 'value' | 'item' | 'member' | 'key' | 'colon' | 'after' | 'string' | 'escape' | 'hex' | 'word';
type Status = 'more' | 'done' | 'bad' | 'control';

/** Follows one JSON value (RFC 8259) from piece to piece; every unit is looked at once. */
class JsonScanner {
  status: Status = 'more';
  #state: State = 'value';
  /** Open containers, 1 an object, 0 an array. */
  readonly #open: number[] = [];
  #inKey = false;
  #hexLeft = 0;
  #word = '';

  /** Where the value ended, or where a raw control character or an error stands, or the text's end. */
  scan(text: string, from: number): number {
    let at = from;
    this.status = 'more';
    while (at < text.length) {
      if (this.#state === 'string') at = this.#string(text, at);
      else if (this.#state === 'word') at = this.#words(text, at);
      else if (this.#unit(text.charCodeAt(at))) at++;
      if (this.status !== 'more') return at;
    }
    return at;
  }

  /** The text ended: whether a value that only its end could close is whole. */
  finish(): boolean {
    return this.#state === 'word' && this.#open.length === 0 && isWord(this.#word);
  }

  /** Goes on after a raw control character, if one stands here. */
  passControl(): boolean {
    if (this.status !== 'control') return false;
    this.status = 'more';
    return true;
  }

  #string(text: string, from: number): number {
    for (let at = from; at < text.length; at++) {
      const unit = text.charCodeAt(at);
      if (unit === 34) {
        this.#closeString();
        return at + 1;
      }
      if (unit === 92) {
        this.#state = 'escape';
        return at + 1;
      }
      if (unit < 32) {
        this.status = 'control';
        return at;
      }
    }
    return text.length;
  }

  #words(text: string, from: number): number {
    let at = from;
    while (at < text.length && inWord(text.charCodeAt(at))) at++;
    this.#word += text.slice(from, at);
    if (this.#word.length > 4096) this.status = 'bad';
    else if (at < text.length) {
      if (isWord(this.#word)) this.#valueDone();
      else this.status = 'bad';
    }
    return at;
  }

  /** Takes one unit outside of strings and words; whether it was read. */
  #unit(unit: number): boolean {
    if (this.#state === 'escape') return this.#escape(unit);
    if (this.#state === 'hex') return this.#hex(unit);
    if (unit === 32 || unit === 9 || unit === 10 || unit === 13) return true;
    if (this.#state === 'colon') return unit === 58 ? this.#to('value') : this.#bad();
    if (this.#state === 'after') return this.#afterValue(unit);
    if (this.#state === 'member' && unit === 125) return this.#close(1);
    if (this.#state === 'item' && unit === 93) return this.#close(0);
    if (this.#state === 'member' || this.#state === 'key') {
      this.#inKey = true;
      return unit === 34 ? this.#to('string') : this.#bad();
    }
    return this.#value(unit);
  }

  #value(unit: number): boolean {
    if (unit === 34) return this.#to('string');
    if (unit === 123 || unit === 91) {
      if (this.#open.length >= maxDepth) return this.#bad();
      this.#open.push(unit === 123 ? 1 : 0);
      return this.#to(unit === 123 ? 'member' : 'item');
    }
    if (!inWord(unit)) return this.#bad();
    this.#word = '';
    this.#state = 'word';
    return false;
  }

  #afterValue(unit: number): boolean {
    const kind = this.#open[this.#open.length - 1];
    if (unit === 44) return this.#to(kind === 1 ? 'key' : 'value');
    if (unit === 125) return this.#close(1);
    return unit === 93 ? this.#close(0) : this.#bad();
  }

  #close(kind: number): boolean {
    if (this.#open[this.#open.length - 1] !== kind) return this.#bad();
    this.#open.pop();
    this.#valueDone();
    return true;
  }

  #closeString(): void {
    if (this.#inKey) {
      this.#inKey = false;
      this.#state = 'colon';
    } else this.#valueDone();
  }

  #escape(unit: number): boolean {
    if (unit === 117) {
      this.#hexLeft = 4;
      return this.#to('hex');
    }
    return '"\\/bfnrt'.includes(String.fromCharCode(unit)) ? this.#to('string') : this.#bad();
  }

  #hex(unit: number): boolean {
    if (!/[0-9a-fA-F]/.test(String.fromCharCode(unit))) return this.#bad();
    return --this.#hexLeft > 0 ? true : this.#to('string');
  }

  #valueDone(): void {
    this.#state = 'after';
    if (this.#open.length === 0) this.status = 'done';
  }

  #to(state: State): true {
    this.#state = state;
    return true;
  }

  #bad(): false {
    this.status = 'bad';
    return false;
  }
}

export type JsonResult = 'done' | 'bad' | 'ended';

/** Writes one JSON value as it comes, exactly as written, but control characters in strings, which JSON forbids, escaped. */
export function* readJson(input: Input, write: Write): Step<JsonResult> {
  const scanner = new JsonScanner();
  const needsMore = (): boolean => {
    while (input.at < input.text.length && scanner.status === 'more') {
      const from = input.at;
      const to = scanner.scan(input.text, from);
      input.work += to - from + 1;
      input.at = to;
      if (to > from) write(input.text.slice(from, to));
      if (scanner.passControl()) write(JSON.stringify(input.text[input.at++]).slice(1, -1));
    }
    return scanner.status === 'more';
  };
  while (needsMore()) {
    if (input.ended) return scanner.finish() ? 'done' : 'ended';
    input.pump = needsMore;
    yield;
    input.pump = null;
  }
  return scanner.status === 'done' ? 'done' : 'bad';
}

/** One JSON value as text; null: malformed, cut off or too long. */
export function* captureJson(input: Input): Step<string | null> {
  let text = '';
  const result = yield* readJson(input, (piece) => {
    if (text.length <= maxWithheld) text += piece;
  });
  return result === 'done' && text.length <= maxWithheld ? text : null;
}

/** The value that JSON text is, or undefined. */
export function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function inWord(unit: number): boolean {
  return (
    (unit >= 48 && unit <= 57) ||
    (unit >= 97 && unit <= 122) ||
    (unit >= 65 && unit <= 90) ||
    unit === 43 ||
    unit === 45 ||
    unit === 46
  );
}

function isWord(word: string): boolean {
  return word === 'true' || word === 'false' || word === 'null' || number.test(word);
}

export function isJsonNumber(text: string): boolean {
  return number.test(text);
}
