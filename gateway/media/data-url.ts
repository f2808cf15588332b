import { StatorError } from '#lib/errors/errors.ts';

/** The bytes of a `data:` URL with base64. Throws StatorError that names `field`; more than the limit is not decoded. */
export function decodeDataUrl(url: string, field: string, maxBytes: number): Buffer {
  const comma = url.indexOf(',');
  const head = comma < 0 ? '' : url.slice('data:'.length, comma);
  if (comma < 0 || comma > 200 || !/;\s*base64$/i.test(head))
    throw StatorError.invalid(field, `\`${field}\`: a data: URL must be of the form data:image/png;base64,…`);
  const padding = url.endsWith('==') ? 2 : url.endsWith('=') ? 1 : 0;
  const chars = url.length - comma - 1 - padding;
  if (Math.floor((chars * 3) / 4) > maxBytes) throw tooLarge(field, maxBytes);
  const text = url.slice(comma + 1);
  // Node skips what is no base64; a part that is left out would be another picture.
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== Math.floor((chars * 3) / 4) || chars === 0)
    throw StatorError.invalid(field, `\`${field}\`: the data: URL holds no valid base64`);
  return bytes;
}

export function tooLarge(field: string, maxBytes: number): StatorError {
  const message = `\`${field}\` has more than ${maxBytes} bytes (media-max-mib, media-request-mib)`;
  return new StatorError('payload_too_large', message, { field, facts: { limitBytes: maxBytes } });
}
