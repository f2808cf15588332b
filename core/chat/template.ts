import { Template } from '@huggingface/jinja';
import { TemplateError } from './errors.ts';
import { type TemplateFeatures, templateFeatures } from './features.ts';
import { type Data, type Dict, Float } from './value.ts';

export interface RenderLimits {
  readonly now: Date;
  /** Most characters of output. */
  readonly maxOutputLength: number;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Most milliseconds that rendering may take. */
  readonly maxMs: number;
}

/** A compiled template. */
export interface ChatTemplate {
  readonly features: TemplateFeatures;
  render(context: Dict, limits: RenderLimits): string;
}

/** Throws TemplateError `syntax`. */
export function compileTemplate(source: string): ChatTemplate {
  let template: Template;
  try {
    template = new Template(source);
  } catch (cause) {
    throw new TemplateError('syntax', cause instanceof Error ? cause.message : String(cause), cause);
  }
  return {
    features: templateFeatures(source),
    render: (context, limits) => {
      try {
        const text = template.render(Object.fromEntries([...context].map(([key, value]) => [key, plain(value)])));
        if (text.length > limits.maxOutputLength)
          throw new TemplateError('limit', 'The rendered conversation is too long.');
        return text;
      } catch (cause) {
        throw new TemplateError('raised', cause instanceof Error ? cause.message : String(cause), cause);
      }
    },
  };
}

function plain(value: Data): unknown {
  if (value instanceof Float) return value.value;
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, entry]) => [key, plain(entry)]));
  return Array.isArray(value) ? value.map(plain) : value;
}
