/**
 * Why a template gave no text.
 * - `syntax`: it is no Jinja template that can be run here.
 * - `raised`: it refused the conversation by raise_exception.
 * - `failed`: it did something that Python's Jinja refuses too.
 * - `limit`: it took too long or wrote too much.
 */
export type TemplateFailure = 'syntax' | 'raised' | 'failed' | 'limit';

export class TemplateError extends Error {
  override readonly name = 'TemplateError';
  readonly kind: TemplateFailure;

  constructor(kind: TemplateFailure, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
  }
}

/** A part of the conversation that cannot be rendered; `field` names it. */
export class ConversationError extends Error {
  override readonly name = 'ConversationError';
  readonly field: string;

  constructor(field: string, message: string) {
    super(message);
    this.field = field;
  }
}
