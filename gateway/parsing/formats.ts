import { templateFeatures } from '#core/chat/features.ts';
import type { ReasoningFormat, ToolFormat } from '#core/parsing/context.ts';
import { detectFormats } from '#core/parsing/detect.ts';
import { findReasoningFormat, findToolFormat } from '#core/parsing/registry.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';

/** How a model writes calls and reasoning. */
export interface ModelFormats {
  /** null: nobody knows how it writes calls. */
  readonly tool: ToolFormat | null;
  /** null: it does not reason, or nobody knows how. */
  readonly reasoning: ReasoningFormat | null;
  /** A name on the card that no format has; empty: none. */
  readonly unknownTool: string;
}

/** On a card: no parser, even where the template shows a format. */
const none = 'none';
const known = new WeakMap<ModelCard, ModelFormats>();

/** The formats that a card names, else those that its chat template shows. */
export function formatsOf(card: ModelCard): ModelFormats {
  let formats = known.get(card);
  if (formats === undefined) {
    formats = resolve(card);
    known.set(card, formats);
  }
  return formats;
}

function resolve({ toolCallParser, reasoningParser, tokenizer }: ModelCard): ModelFormats {
  const template = tokenizer?.namedChatTemplates['tool_use'] ?? tokenizer?.chatTemplate ?? '';
  const shown = detectFormats(template);
  const tool = toolCallParser === '' ? (shown.tool ?? undetected(template)) : toolCallParser;
  // An unknown name still says that there is reasoning; nearly every model writes it this way.
  const reasoning = reasoningParser === '' ? shown.reasoning : reasoningParser;
  return {
    tool: tool === none ? null : (findToolFormat(tool) ?? null),
    reasoning:
      reasoning === null || reasoning === none
        ? null
        : (findReasoningFormat(reasoning) ?? findReasoningFormat('basic') ?? null),
    unknownTool: tool !== none && findToolFormat(tool) === undefined ? tool : '',
  };
}

/**
 * Templates that take tools without showing how calls are written leave that to the model: any of the common ways is read.
 * Templates that know no tools get them described, with calls as Hermes writes them.
 */
function undetected(template: string): string {
  if (template === '') return none;
  const { tools, toolCalls } = templateFeatures(template);
  return tools || toolCalls ? 'default' : 'hermes';
}

const bare = new WeakMap<ModelFormats, ModelFormats>();

/** The same without a format of reasoning; the same object for the same formats. */
export function withoutReasoning(formats: ModelFormats): ModelFormats {
  let found = bare.get(formats);
  if (found === undefined) {
    found = { ...formats, reasoning: null };
    bare.set(formats, found);
  }
  return found;
}

/** Text that markup is made of. */
export interface Markup {
  readonly markers: readonly string[];
  /** Markup may be any special token: those that end an answer too, only if they are markers. */
  readonly specialTokens: boolean;
}

const markups = new WeakMap<ModelFormats, Markup>();

/** What must stay in the text for a format's parser to see it; the same object for the same formats. */
export function markupOf(formats: ModelFormats): Markup {
  let markup = markups.get(formats);
  if (markup === undefined) {
    const { tool, reasoning } = formats;
    const own = [tool?.starts, tool?.hidden, tool?.sections, tool?.headers];
    const thought = [reasoning?.opens, reasoning?.closes, reasoning?.hidden, reasoning?.headers];
    markup = {
      markers: [...own, ...thought].flatMap((markers) => markers ?? []),
      specialTokens: tool?.specialTokens === true || reasoning?.specialTokens === true,
    };
    markups.set(formats, markup);
  }
  return markup;
}
