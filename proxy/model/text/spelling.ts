/** Values and words in messages: shortened, made safe for a terminal, with a suggestion for a misspelt word. */

const maxShown = 60

/** A value for a message: on one line, shortened; collections by their kind. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (typeof value === 'string') return tame(JSON.stringify(cut(value, maxShown)))
  if (typeof value !== 'object') return String(value)
  return Array.isArray(value) ? 'a list' : 'a mapping'
}

/** A shortened text, with control characters escaped, which a terminal would interpret. */
export function tame(text: string): string {
  return cut(text, 300).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, found => `\\u{${found.codePointAt(0)?.toString(16)}}`)
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text
}

export function unknownKey(key: string, known: readonly string[]): string {
  const which = known.length > 0 ? `known keys: ${known.join(', ')}` : 'no keys are known here'
  return `is not a known key${didYouMean(key, known)} (${which})`
}

/** `; did you mean "remote"?` if a known word is similar, else empty. */
export function didYouMean(word: string, known: readonly string[]): string {
  const near = similar(word, known)
  return near === undefined ? '' : `; did you mean "${near}"?`
}

/** The known word that is nearest, if it is near. */
export function similar(word: string, known: readonly string[]): string | undefined {
  if (word.length > maxShown) return undefined
  const near = known
    .map(other => ({ other, distance: editDistance(word.toLowerCase(), other.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0]
  return near && near.distance <= Math.max(1, Math.floor(word.length / 3)) ? near.other : undefined
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (const [i, x] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, y] of [...b].entries()) {
      next.push(Math.min((row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1, (row[j] ?? 0) + (x === y ? 0 : 1)))
    }
    row = next
  }
  return row[b.length] ?? 0
}
