import type { Regex } from '../regex/ast.ts';
import { wholeRegex } from '../regex/parse.ts';

const day31 = '(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])';
const day30 = '(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)';
const leapYear = '(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)';
const date = `(?:[0-9]{4}-(?:${day31}|${day30}|02-(?:0[1-9]|1[0-9]|2[0-8]))|${leapYear}-02-29)`;
const time = '(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])';
const octet = '(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
/** Without two hyphens in a row, which mark names in other scripts. */
const label = '[a-zA-Z0-9]{1,20}(?:-[a-zA-Z0-9]{1,10}){0,3}';
const hostname = `${label}(?:\\.${label}){0,8}`;
const atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,24}";
const group = '[0-9a-fA-F]{1,4}';
/** With eight groups, or with one gap that the groups before and after it leave room for. */
const ipv6 = `(?:(?:${group}:){7}${group}|::(?:${group}(?::${group}){0,6})?|${group}::(?:${group}(?::${group}){0,5})?|(?:${group}:){2}:(?:${group}(?::${group}){0,4})?)`;
const period = '(?:[0-9]{1,6}Y(?:[0-9]{1,6}M(?:[0-9]{1,6}D)?)?|[0-9]{1,6}M(?:[0-9]{1,6}D)?|[0-9]{1,6}D)';
const hours = 'T(?:[0-9]{1,6}H(?:[0-9]{1,6}M(?:[0-9]{1,6}S)?)?|[0-9]{1,6}M(?:[0-9]{1,6}S)?|[0-9]{1,6}S)';

/** Formats of strings, each narrowed to what all readers of it take. */
const sources: Readonly<Record<string, string>> = {
  date,
  time,
  'date-time': `${date}T${time}`,
  duration: `P(?:${period}(?:${hours})?|${hours}|[0-9]{1,6}W)`,
  email: `${atom}(?:\\.${atom}){0,3}@${hostname}`,
  hostname,
  ipv4: `${octet}(?:\\.${octet}){3}`,
  ipv6,
  uri: `[a-zA-Z][a-zA-Z0-9+.-]{0,12}://${hostname}(?::[1-9][0-9]{0,3})?(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})*)*(?:\\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-fA-F]{2})*)?`,
  uuid: '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}',
};
const parsed = new Map<string, Regex>();

/** What a string of a format is written as; null: the format is not known. */
export function formatRegex(format: string): Regex | null {
  const source = Object.hasOwn(sources, format) ? sources[format] : undefined;
  if (source === undefined) return null;
  let regex = parsed.get(format);
  if (regex === undefined) {
    regex = wholeRegex(source);
    parsed.set(format, regex);
  }
  return regex;
}
