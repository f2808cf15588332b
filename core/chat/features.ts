/** What a template does with a conversation, read from its source as the common templates write it. */
export interface TemplateFeatures {
  /** It tests whether a call's arguments are a string, so that it gets them as the client wrote them. */
  readonly argumentsAsText: boolean;
  /** It takes content as a list of parts. */
  readonly contentParts: boolean;
  /** It knows the role "developer". */
  readonly developerRole: boolean;
  /** It reads reasoning_content. */
  readonly reasoningContent: boolean;
  /** It reads reasoning under the name "thinking" (harmony). */
  readonly thinking: boolean;
  /** It takes a message of the role "system". */
  readonly systemRole: boolean;
  /** It looks at tools at all. */
  readonly tools: boolean;
  /** It looks at earlier calls. */
  readonly toolCalls: boolean;
}

export function templateFeatures(source: string): TemplateFeatures {
  return {
    argumentsAsText: /\barguments['"\]]*\s+is\s+(not\s+)?string\b/.test(source),
    contentParts:
      /\bfor\s+\w+\s+in\s+[\w.[\]'"]*content\b/.test(source) ||
      /\bcontent['"\]]*\s+is\s+(not\s+)?(string|iterable|sequence|mapping)\b/.test(source) ||
      // `content.0.type`: a member of one part.
      /\bcontent['"\]]*(\.\d+|\[\d+\])[.[]/.test(source),
    developerRole: /\bdeveloper\b/.test(source),
    reasoningContent: /\breasoning_content\b/.test(source),
    thinking: /(\.|\[['"])thinking\b|['"]thinking['"]\s+in\b/.test(source),
    systemRole: !/raise_exception\(['"][^'"]*system role/i.test(source),
    tools: /\btools\b/.test(source),
    toolCalls: /\btool_calls\b/.test(source),
  };
}
