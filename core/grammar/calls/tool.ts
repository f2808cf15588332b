import type { ToolSchema } from '#core/parsing/context.ts';

/** A tool in a grammar of calls. */
export interface CallTool extends ToolSchema {
  /** Whether arguments keep to the schema; else they are any object. */
  readonly strict: boolean;
}

/** Most work for the grammar of all tools of a request: gateways compile it between the requests of others. */
export const maxCallWork = 200_000;

const noArguments = { type: 'object', properties: {}, additionalProperties: false };

/** JSON Schema of the arguments of one tool, whatever it is offered as. */
export function argumentsSchema(tool: ToolSchema): unknown {
  return tool.parameters ?? noArguments;
}

/** What the arguments of a call must keep to. */
export function callSchema(tool: CallTool): unknown {
  return tool.strict ? argumentsSchema(tool) : { type: 'object' };
}
