/**
 * Turns text into token ids. Encoding runs off the event loop, several calls at once. Whatever implements this must give
 * the ids of Hugging Face's tokenizers library (or, for a GGUF vocabulary, of llama.cpp).
 */
export interface Encoder {
  /** Ids of a text: special tokens written in it are recognised, none are put around it. */
  encode(text: string): Promise<Uint32Array>;
}
