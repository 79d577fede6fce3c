/**
 * Texts as one, in one piece: of a template V8 keeps the parts, also once it is a key of a Map. What is looked up is in one piece sooner,
 * too.
 */
export function joined(...parts: readonly string[]): string {
  return parts.join('')
}
