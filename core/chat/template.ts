import { TemplateError } from './errors.ts';
import { type TemplateFeatures, templateFeatures } from './features.ts';
import { compileBlock } from './jinja/compile.ts';
import { defineGlobals } from './jinja/globals.ts';
import { parseTemplate } from './jinja/parse.ts';
import { Output, Run, type RunLimits, Scope } from './jinja/run.ts';
import type { Dict } from './value.ts';

export interface RenderLimits extends RunLimits {
  /** What strftime_now prints. */
  readonly now: Date;
}

/** A compiled template; used by any number of renderings. */
export interface ChatTemplate {
  readonly features: TemplateFeatures;
  /** Throws TemplateError `raised`, `failed` or `limit`. */
  render(context: Dict, limits: RenderLimits): string;
}

/** Throws TemplateError `syntax`. */
export function compileTemplate(source: string): ChatTemplate {
  const execute = understood(() => compileBlock(parseTemplate(source)));
  return {
    features: templateFeatures(source),
    render: (context, limits) =>
      bounded(() => {
        const run = new Run(limits);
        const globals = new Scope(run, null);
        defineGlobals(globals, limits.now);
        const scope = globals.inner();
        for (const [name, value] of context) scope.set(name, value);
        const output = new Output(run);
        execute(scope, output);
        return output.text;
      }),
  };
}

/** Whatever stops the compiler is the template's fault. */
function understood<T>(compile: () => T): T {
  try {
    return compile();
  } catch (error) {
    if (!(error instanceof TemplateError) && !(error instanceof RangeError)) throw error;
    const message = error instanceof TemplateError ? error.message : 'it is nested too deeply';
    throw new TemplateError('syntax', message, error);
  }
}

/** The engine's own bounds (stack, longest string) count as the template's. */
function bounded<T>(render: () => T): T {
  try {
    return render();
  } catch (error) {
    if (error instanceof RangeError) throw new TemplateError('limit', 'it needs too much memory', error);
    throw error;
  }
}
