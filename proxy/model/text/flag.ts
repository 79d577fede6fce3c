/** The boolean values of annotations and labels. */

/** `true` and `false`, in upper or lower case and not trimmed, as for Cilium. Undefined for any other text. */
export function flagOf(text: string): boolean | undefined {
  const value = text.toLowerCase()
  return value === 'true' || value === 'false' ? value === 'true' : undefined
}
