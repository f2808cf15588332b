import type { CallTool } from '#core/grammar/calls/tool.ts';
import { GrammarError } from '#core/grammar/error.ts';
import type { ToolChoice } from '#core/parsing/document.ts';
import { GuidedMode, type ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Guided } from '../pipeline/request.ts';
import { callsAlone, callsInText, canCallAlone, hasCallTags } from './call-tags.ts';
import { forcedSchema } from './forced-calls.ts';
import { formatsOf } from './formats.ts';

/** A tool that the model may call. */
export type OfferedTool = CallTool;

/** A constraint and the client's field that it comes from. */
export interface NamedConstraint {
  readonly guided: Guided;
  readonly field: string;
}

/** What decides what an answer must look like. */
export interface AnswerRules {
  readonly card: ModelCard;
  readonly tools: readonly OfferedTool[];
  readonly choice: ToolChoice;
  readonly parallel: boolean;
  /** What the client asks of the content. */
  readonly content: NamedConstraint | null;
  /** Whether `content` is about an answer without calls, so that calls may come instead; else it is about the whole text. */
  readonly contentOrCalls: boolean;
  /** Whether strict tools are refused where the engine cannot keep calls to schemas; else the model is trusted. */
  readonly enforceStrict: boolean;
  /** What the client calls its fields. */
  readonly fields: { readonly toolChoice: string; readonly tools: string; readonly strict: (index: number) => string };
}

/** The one constraint of an answer: of forced calls, of strict tools, of the content; null: none. */
export function answerConstraint(rules: AnswerRules): NamedConstraint | null {
  const { choice, content, tools } = rules;
  const schema = shallow(() => forcedSchema(tools, choice, rules.parallel), rules.fields.tools);
  if (schema !== null) return forcedCalls(rules, schema);
  if (choice.mode === 'none' || tools.length === 0) return content;
  if (content !== null) return contentOrCalls(rules, content);
  return tools.some(({ strict }) => strict) ? strictCalls(rules) : null;
}

/** An answer that must be calls has no content for a format of the content to be about. */
function forcedCalls({ content, contentOrCalls: optional, fields }: AnswerRules, schema: unknown): NamedConstraint {
  if (content !== null && !optional) {
    const message = `Validation: \`${content.field}\` cannot be combined with a \`${fields.toolChoice}\` that forces calls`;
    throw StatorError.invalid(content.field, message);
  }
  return { guided: { case: 'jsonSchema', value: jsonOf(schema, fields.tools) }, field: fields.toolChoice };
}

/** What the header of answers calls them. */
export const strictToolsTrusted = 'tools.strict';

/** Whether strict tools are left to the model, because nothing can keep its calls to schemas. */
export function trustsStrictTools(rules: AnswerRules): boolean {
  const { choice, tools, content } = rules;
  if (rules.enforceStrict || content !== null || choice.mode !== 'auto') return false;
  return tools.some(({ strict }) => strict) && !canTag(rules);
}

function strictCalls(rules: AnswerRules): NamedConstraint | null {
  const { tool } = formatsOf(rules.card);
  const field = rules.fields.strict(rules.tools.findIndex(({ strict }) => strict));
  if (tool === null || !canTag(rules)) {
    if (!rules.enforceStrict) return null;
    throw StatorError.unsupported(
      field,
      `\`${field}\`: calls of this model cannot be kept to schemas unless \`${rules.fields.toolChoice}\` forces them`,
    );
  }
  return tagged(
    compiled(rules, (tools) => callsInText(tool, tools, rules.parallel)),
    rules.fields.tools,
    field,
  );
}

/** Either calls, or content that keeps to its own constraint. */
function contentOrCalls(rules: AnswerRules, content: NamedConstraint): NamedConstraint {
  const { tool } = formatsOf(rules.card);
  const { guided, field } = content;
  if (
    !rules.contentOrCalls ||
    tool === null ||
    !canTag(rules) ||
    !canCallAlone(tool) ||
    (guided.case !== 'jsonSchema' && guided.case !== 'jsonObject')
  ) {
    throw StatorError.unsupported(
      field,
      `\`${field}\` cannot be combined with tools of this model; force calls, or none, by \`${rules.fields.toolChoice}\``,
    );
  }
  const schema: unknown = guided.case === 'jsonSchema' ? JSON.parse(guided.value) : { type: 'object' };
  const format = {
    type: 'or',
    elements: [
      compiled(rules, (tools) => callsAlone(tool, tools, rules.parallel)),
      { type: 'json_schema', json_schema: schema },
    ],
  };
  return tagged(format, field, field);
}

function tagged(format: unknown, jsonField: string, field: string): NamedConstraint {
  return { guided: { case: 'structuralTag', value: jsonOf({ type: 'structural_tag', format }, jsonField) }, field };
}

function canTag({ card }: AnswerRules): boolean {
  const modes = card.capabilities?.guidedModes ?? [];
  return modes.includes(GuidedMode.STRUCTURAL_TAG) && hasCallTags(formatsOf(card).tool);
}

/** What formats write themselves is compiled here: what it cannot express is refused by the tool that asks for it. */
function compiled(rules: AnswerRules, run: (tools: readonly CallTool[]) => unknown): unknown {
  const { tools, fields } = rules;
  return shallow(() => {
    try {
      return run(tools);
    } catch (error) {
      if (!(error instanceof GrammarError)) throw error;
      const field = fields.strict(culprit(tools, run));
      const message = `\`${field}\`: ${error.message}`;
      throw new StatorError(error.kind === 'invalid' ? 'invalid_argument' : 'unsupported', message, {
        field,
        cause: error,
        ...(error.path === '' ? {} : { facts: { path: error.path } }),
      });
    }
  }, fields.tools);
}

/** The first tool that fails by itself. */
function culprit(tools: readonly CallTool[], run: (tools: readonly CallTool[]) => unknown): number {
  const index = tools.findIndex((tool) => {
    try {
      run([tool]);
      return false;
    } catch {
      return true;
    }
  });
  return Math.max(0, index);
}

function jsonOf(value: unknown, field: string): string {
  return shallow(() => JSON.stringify(value), field);
}

/** Runs what goes down into values of a request; values that are nested too deep for it are refused by their field. */
export function shallow<T>(run: () => T, field: string): T {
  try {
    return run();
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw StatorError.invalid(field, `Validation: \`${field}\`: is nested too deep`, { cause });
  }
}
