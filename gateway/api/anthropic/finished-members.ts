/** Ends that are tried; more than a few only where the text is no JSON at all. */
const mostTries = 4;

/**
 * The members of an object's JSON text that are whole, as an object: what is left of a call's arguments that were cut off.
 * Text that is no object gives an empty one.
 */
export function finishedMembers(json: string): string {
  const start = json.search(/\S/);
  if (json[start] !== '{') return '{}';
  const ends = memberEnds(json, start + 1);
  // The last of them may follow a value that is not whole.
  for (const end of ends.slice(-mostTries).toReversed()) {
    const object = `${json.slice(start, end)}}`;
    if (isJson(object)) return object;
  }
  return '{}';
}

/** Where members at the top level may end: commas and closing braces outside of strings and of deeper values. */
function memberEnds(json: string, from: number): number[] {
  const ends: number[] = [];
  let depth = 0;
  let inString = false;
  for (let at = from; at < json.length; at++) {
    const char = json[at];
    if (inString) {
      if (char === '\\') at++;
      else if (char === '"') inString = false;
    } else if (char === '"') inString = true;
    else if (char === '{' || char === '[') depth++;
    else if ((char === '}' || char === ']') && depth > 0) depth--;
    else if (depth === 0 && (char === ',' || char === '}')) ends.push(at);
  }
  // The text may end right after a value, but a number might have had more digits.
  if (!inString && depth === 0 && !/[\d.+-]\s*$/.test(json.slice(-8))) ends.push(json.length);
  return ends;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
